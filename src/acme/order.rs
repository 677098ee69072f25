//! One order from beginning to end (RFC 8555 §7.4): ask, prove, send the request for signing, fetch.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, Error, Identifier, NewOrder, Order,
    OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::challenge::{Kind, Proof, Prover};
use super::problem::Failure;

/// How long a CA may take to look at the proof, and then to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_mins(5));

/// The library tries three nonces for each step. A CA may refuse half of all nonces and still gets
/// its orders.
pub(super) const ROUNDS: usize = 6;

/// Does a step again while the CA refuses nothing but its nonce: it has not looked at the rest then
/// (RFC 8555 §6.5). A macro, because a future that holds an async closure is not `Send` today.
macro_rules! repeating {
    ($step:expr) => {{
        let mut rounds = super::order::ROUNDS;
        loop {
            rounds -= 1;
            match $step.await {
                Err(error) if rounds > 0 && super::order::is_bad_nonce(&error) => {}
                outcome => break outcome,
            }
        }
    }};
}
pub(super) use repeating;

/// What to order.
pub(super) struct Wish<'a> {
    pub(super) host: &'a str,
    pub(super) profile: Option<&'a str>,
    /// The certificate that is to be renewed, if the CA wants to know (RFC 9773 §5).
    pub(super) replaces: Option<CertificateDer<'static>>,
    /// The proof to offer, if the CA takes it.
    pub(super) kind: Kind,
}

/// What came of it.
pub(super) struct Issued {
    /// PEM, leaf first.
    pub(super) chain: String,
    /// PEM.
    pub(super) key: Zeroizing<String>,
    /// How control was proved, if the CA asked.
    pub(super) kind: Kind,
}

/// Orders a certificate for one name, and nothing but that name.
pub(super) async fn obtain(
    account: &Account,
    wish: &Wish<'_>,
    prover: &Prover,
) -> Result<Issued, Failure> {
    let mut order = place(account, wish).await?;
    let proof = prove(&mut order, wish, prover).await?;
    let kind = proof.as_ref().map_or(wish.kind, Proof::kind);
    let approved = approval(&mut order).await;
    if let Some(proof) = proof {
        proof.withdraw().await;
    }
    approved.map_err(|failure| failure.at(kind.name()))?;
    let (request, key) = signing_request(wish.host)?;
    repeating!(order.finalize_csr(&request))?;
    let chain = repeating!(order.poll_certificate(&PATIENCE))?;
    Ok(Issued { chain, key, kind })
}

async fn place(account: &Account, wish: &Wish<'_>) -> Result<Order, Failure> {
    let names = [Identifier::Dns(wish.host.to_owned())];
    let replaced = wish.replaces.as_ref();
    let replaced = replaced.and_then(|leaf| CertificateIdentifier::try_from(leaf).ok());
    let mut order = NewOrder::new(&names);
    if let Some(profile) = wish.profile {
        order = order.profile(profile);
    }
    if let Some(replaced) = replaced {
        order = order.replaces(replaced);
    }
    Ok(repeating!(account.new_order(&order))?)
}

/// Shows the CA its proof; `None` if it remembers an earlier one (RFC 8555 §7.1.4).
async fn prove(
    order: &mut Order,
    wish: &Wish<'_>,
    prover: &Prover,
) -> Result<Option<Proof>, Failure> {
    repeating!(fetch_authorizations(order))?;
    let mut authorizations = order.authorizations();
    let Some(authorization) = authorizations.next().await else {
        return Err(Failure::new(
            "the CA's order asks for nothing",
            "ask the CA",
        ));
    };
    let mut authorization = authorization?;
    if authorization.status == AuthorizationStatus::Valid {
        return Ok(None);
    }
    let offers = |kind: &Kind| {
        let wanted = kind.of_the_library();
        let mut offered = authorization.challenges.iter();
        offered.any(|challenge| challenge.r#type == wanted)
    };
    let mut kinds = [wish.kind, wish.kind.other()].into_iter();
    let challenge = kinds.find(offers);
    let challenge =
        challenge.and_then(|kind| Some((kind, authorization.challenge(kind.of_the_library())?)));
    let Some((kind, mut challenge)) = challenge else {
        return Err(Failure::new(
            "the CA offers neither tls-alpn-01 nor http-01",
            "ask another CA: --tls-directory-url",
        ));
    };
    let answer = challenge.key_authorization();
    let proof = prover
        .show(kind, wish.host, &challenge.token, &answer)
        .await?;
    let Err(error) = repeating!(challenge.set_ready()) else {
        return Ok(Some(proof));
    };
    proof.withdraw().await;
    Err(refusal(order, error).await.at(kind.name()))
}

/// Some CAs (smallstep's, which is Caddy's) look at once: their answer to "look" is what they hold
/// against the proof, and the challenge stays pending for another try (RFC 8555 §8.2). Others only
/// say why they do not look.
async fn refusal(order: &mut Order, error: Error) -> Failure {
    match repeating!(challenge_problem(order)) {
        Ok(Some(problem)) => Failure::from(problem).unproved(),
        Ok(None) | Err(_) => error.into(),
    }
}

/// The library keeps what was fetched.
async fn fetch_authorizations(order: &mut Order) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        authorization?;
    }
    Ok(())
}

/// Waits until the CA has looked at the proof.
async fn approval(order: &mut Order) -> Result<(), Failure> {
    match repeating!(order.poll_ready(&PATIENCE)) {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) => Err(objection(order, None).await),
        Err(Error::Api(problem)) => Err(objection(order, Some(problem)).await),
        Err(error) => Err(error.into()),
    }
}

/// What the CA holds against the proof; the order itself may not say (RFC 8555 §7.1.4, §8).
async fn objection(order: &mut Order, problem: Option<Problem>) -> Failure {
    let found = repeating!(challenge_problem(order));
    match found.ok().flatten().or(problem) {
        Some(problem) => Failure::from(problem),
        None => Failure::new("the CA refused without a reason", "it will be tried again"),
    }
    .unproved()
}

async fn challenge_problem(order: &mut Order) -> Result<Option<Problem>, Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let state = authorization.refresh().await?;
        let mut challenges = state.challenges.iter();
        if let Some(problem) = challenges.find_map(|challenge| challenge.error.clone()) {
            return Ok(Some(problem));
        }
    }
    Ok(None)
}

/// A request for one name (RFC 8555 §7.4), and the key that nobody had before.
fn signing_request(host: &str) -> Result<(Vec<u8>, Zeroizing<String>), Failure> {
    let make = || {
        let mut parameters = CertificateParams::new([host.to_owned()])?;
        parameters.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate()?;
        let request = parameters.serialize_request(&key)?;
        Ok((request.der().to_vec(), Zeroizing::new(key.serialize_pem())))
    };
    make().map_err(|error: rcgen::Error| Failure::new(&error.to_string(), "check --tls-host"))
}

pub(super) fn is_bad_nonce(error: &Error) -> bool {
    let Error::Api(problem) = error else {
        return false;
    };
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce")
}
