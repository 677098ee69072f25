//! Forged, stale and strange ID tokens, taken all the way from the token endpoint.

use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::fake_issuer::{
    DISCOVERY, ED25519, FakeIssuer, JWKS, OTHER_RSA, P256, P384, RSA, SigningKey, TOKEN, encode,
};
use super::tests::{CLIENT, NONCE, SECRET, SignIn, now};
use crate::identity::SignInError;

/// A sign-in at an issuer that has a key of every kind.
async fn sign_in() -> SignIn {
    let sign_in = SignIn::start().await;
    sign_in.issuer.publish(&[&RSA, &P256, &P384, &ED25519]);
    sign_in
}

async fn refused(sign_in: &SignIn, token: &str) -> String {
    match sign_in.with(token).await {
        Err(SignInError::Untrusted(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// Good claims with these members changed; `null` takes one away.
fn claims(issuer: &FakeIssuer, changes: &Value) -> Value {
    let mut claims = super::tests::claims(issuer);
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[tokio::test]
async fn a_token_under_every_algorithm_of_the_list_is_believed() {
    let sign_in = sign_in().await;
    let claims = claims(&sign_in.issuer, &json!({}));
    let all: [(&SigningKey, &[&str]); 4] = [
        (
            &RSA,
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
        ),
        (&P256, &["ES256"]),
        (&P384, &["ES384"]),
        (&ED25519, &["EdDSA"]),
    ];
    for (key, algorithms) in all {
        for algorithm in algorithms {
            let outcome = sign_in.with(&key.token(algorithm, &claims)).await;
            let identity = outcome.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
            let subject = format!("oidc:{}#7", sign_in.issuer.url);
            assert_eq!(identity.subject.as_str(), subject);
        }
    }
}

#[tokio::test]
async fn a_token_may_say_more_and_the_clocks_may_differ_a_little() {
    let sign_in = sign_in().await;
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
    let fraction = now() as f64 + 100.5;
    for changes in [
        json!({"aud": [CLIENT]}),
        json!({"aud": [CLIENT, "other"], "azp": CLIENT}),
        json!({"azp": CLIENT}),
        json!({"exp": now() - 30}),
        json!({"exp": fraction}),
        json!({"iat": now() + 30}),
        json!({"iat": now() - 100_000}),
        json!({"nbf": now() + 30}),
        json!({"anything": {"else": [1.5]}}),
    ] {
        let token = RSA.token("RS256", &claims(&sign_in.issuer, &changes));
        let outcome = sign_in.with(&token).await;
        assert!(outcome.is_ok(), "{changes}: {outcome:?}");
    }
}

#[tokio::test]
async fn a056_claims_that_are_not_as_they_must_be_are_refused() {
    let sign_in = sign_in().await;
    let issuer = &sign_in.issuer;
    let slash = format!("{}/", issuer.url);
    let soon = (now() + 300).to_string();
    for (changes, fault) in [
        (json!({"iss": "https://evil.test"}), "iss"),
        (json!({"iss": slash}), "iss"),
        (json!({"iss": [issuer.url]}), "iss"),
        (json!({"iss": null}), "iss"),
        (json!({"aud": "other"}), "aud"),
        (json!({"aud": format!("{CLIENT} ")}), "aud"),
        (json!({"aud": ["other"]}), "aud"),
        (json!({"aud": []}), "aud"),
        (json!({"aud": [CLIENT, 1]}), "aud"),
        (json!({"aud": [[CLIENT]]}), "aud"),
        (json!({"aud": {CLIENT: CLIENT}}), "aud"),
        (json!({"aud": null}), "aud"),
        (json!({"aud": [CLIENT, "other"]}), "azp"),
        (json!({"aud": [CLIENT, "other"], "azp": "other"}), "azp"),
        (json!({"azp": "other"}), "azp"),
        (json!({"azp": [CLIENT]}), "azp"),
        (json!({"exp": now() - 61}), "it has expired"),
        (json!({"exp": 0}), "it has expired"),
        (json!({"exp": -1}), "it has expired"),
        (json!({"exp": soon}), "exp is"),
        (json!({"exp": true}), "exp is"),
        (json!({"exp": [now() + 300]}), "exp is"),
        (json!({"exp": null}), "exp is"),
        (json!({"iat": now().to_string()}), "iat is"),
        (json!({"iat": now() + 120}), "iat is"),
        (json!({"iat": null}), "iat is"),
        (json!({"nbf": "0"}), "nbf is"),
        (json!({"nbf": now() + 120}), "nbf is"),
        (json!({"nbf": {}}), "nbf is"),
        (json!({"nonce": "other"}), "nonce"),
        (json!({"nonce": ""}), "nonce"),
        (json!({"nonce": [NONCE]}), "nonce"),
        (json!({"nonce": null}), "nonce"),
        (json!({"sub": null}), "sub is"),
        (json!({"sub": ""}), "sub is"),
        (json!({"sub": 7}), "sub is"),
        (json!({"sub": "7\n8"}), "sub is"),
        (json!({"sub": "7".repeat(256)}), "sub is"),
    ] {
        let token = RSA.token("RS256", &claims(issuer, &changes));
        let text = refused(&sign_in, &token).await;
        assert!(
            text.starts_with(&format!("ID token: {fault}")),
            "{changes}: {text}"
        );
    }
    // `null` as JSON, which the table uses for a claim that is missing.
    for name in ["iss", "aud", "azp", "exp", "iat", "nbf", "nonce", "sub"] {
        let mut claims = claims(issuer, &json!({}));
        claims[name] = Value::Null;
        refused(&sign_in, &RSA.token("RS256", &claims)).await;
    }
}

#[tokio::test]
async fn a056_forged_signatures_are_refused() {
    let sign_in = sign_in().await;
    let claims = claims(&sign_in.issuer, &json!({}));
    let good = RSA.token("RS256", &claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let other = RSA.token("RS256", &json!({"sub": "8"}));
    let elliptic = P256.token("ES256", &claims);
    let elliptic = elliptic.rsplit_once('.').unwrap().0;
    let ps_header = json!({"alg": "PS256", "kid": RSA.id}).to_string();
    let rs_header = json!({"alg": "RS256", "kid": RSA.id}).to_string();
    let body = claims.to_string();
    for token in [
        format!("{signed}."),
        format!("{signed}.{}", &signature[..signature.len() - 4]),
        format!("{signed}.{signature}AAAA"),
        format!("{signed}.{}", encode([0; 256])),
        format!("{signed}.not base64"),
        format!(
            "{header}.{}.{signature}",
            encode(json!({"sub": "admin"}).to_string())
        ),
        format!("{signed}.{}", other.rsplit_once('.').unwrap().1),
        RSA.sign("RS256", &ps_header, &body),
        RSA.sign("PS256", &rs_header, &body),
        OTHER_RSA.sign("RS256", &rs_header, &body),
        // CVE-2022-21449
        format!("{elliptic}.{}", encode([0; 64])),
        format!("{elliptic}.{}", encode([0xff; 64])),
        format!("{elliptic}."),
    ] {
        let text = refused(&sign_in, &token).await;
        assert_eq!(text, "ID token: its signature is wrong", "{token}");
    }
}

#[tokio::test]
async fn a056_algorithms_beyond_the_list_are_refused() {
    let sign_in = sign_in().await;
    let body = claims(&sign_in.issuer, &json!({})).to_string();
    for algorithm in [
        json!("none"),
        json!("None"),
        json!("NONE"),
        json!(""),
        json!("rs256"),
        json!("RS1"),
        json!("HS256"),
        json!("HS384"),
        json!("HS512"),
        json!("ES512"),
        json!("ES256K"),
        json!("RSA-OAEP"),
        json!(null),
        json!(["RS256"]),
        json!(0),
    ] {
        let header = json!({"alg": algorithm, "kid": RSA.id}).to_string();
        for token in [
            format!("{}.{}.", encode(&header), encode(&body)),
            RSA.sign("RS256", &header, &body),
        ] {
            let text = refused(&sign_in, &token).await;
            assert!(
                text.contains("algorithm is not among"),
                "{algorithm}: {text}"
            );
        }
    }
    let header = json!({"alg": "HS256", "kid": RSA.id}).to_string();
    let jwk = RSA.jwk();
    for secret in [
        jwk.to_string(),
        jwk["n"].to_string(),
        SECRET.to_owned(),
        String::new(),
    ] {
        let signed = format!("{}.{}", encode(&header), encode(&body));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signature = encode(hmac::sign(&key, signed.as_bytes()));
        let text = refused(&sign_in, &format!("{signed}.{signature}")).await;
        assert!(text.contains("algorithm is not among"), "{text}");
    }
}

#[tokio::test]
async fn a056_a_key_is_never_taken_from_the_token_and_never_fetched_from_where_it_says() {
    let sign_in = sign_in().await;
    let evil = format!("{}/evil", sign_in.issuer.url);
    sign_in.issuer.answer(
        "/evil",
        super::fake_issuer::Answer::json(200, &json!({"keys": [OTHER_RSA.jwk()]})),
    );
    let body = claims(&sign_in.issuer, &json!({})).to_string();
    for header in [
        json!({"alg": "RS256", "kid": OTHER_RSA.id, "jku": evil}),
        json!({"alg": "RS256", "kid": OTHER_RSA.id, "x5u": evil}),
        json!({"alg": "RS256", "kid": OTHER_RSA.id, "jwk": OTHER_RSA.jwk()}),
        json!({"alg": "RS256", "kid": RSA.id, "jku": evil}),
        json!({"alg": "RS256", "kid": RSA.id, "x5u": evil, "x5c": ["AA=="]}),
        json!({"alg": "RS256", "kid": RSA.id, "jwk": OTHER_RSA.jwk()}),
        json!({"alg": "RS256", "jwk": OTHER_RSA.jwk()}),
        json!({"alg": "RS256", "kid": "../../evil"}),
        json!({"alg": "RS256", "kid": evil}),
        json!({"alg": "RS256", "kid": ""}),
        json!({"alg": "RS256", "kid": "rsa' OR 1=1"}),
        json!({"alg": "RS256", "kid": 1}),
        json!({"alg": "RS256", "kid": null}),
    ] {
        let token = OTHER_RSA.sign("RS256", &header.to_string(), &body);
        refused(&sign_in, &token).await;
    }
    assert_eq!(sign_in.issuer.paths(), [DISCOVERY, JWKS, TOKEN]);
    assert!(sign_in.issuer.asked(JWKS).len() <= 2);
    // What is not read does no harm either.
    let header = json!({"alg": "RS256", "kid": RSA.id, "jku": evil, "jwk": OTHER_RSA.jwk()});
    let token = RSA.sign("RS256", &header.to_string(), &body);
    sign_in.with(&token).await.unwrap();
    assert_eq!(sign_in.issuer.paths(), [DISCOVERY, JWKS, TOKEN]);
}

#[tokio::test]
async fn a056_a_key_of_another_type_or_curve_is_not_used() {
    let sign_in = sign_in().await;
    let body = claims(&sign_in.issuer, &json!({})).to_string();
    for (algorithm, key, signer, signed_as) in [
        ("ES256", RSA.id, &P256, "ES256"),
        ("RS256", P256.id, &RSA, "RS256"),
        ("ES256", P384.id, &P384, "ES384"),
        ("ES384", P256.id, &P256, "ES256"),
        ("EdDSA", P256.id, &ED25519, "EdDSA"),
        ("ES256", ED25519.id, &P256, "ES256"),
    ] {
        let header = json!({"alg": algorithm, "kid": key}).to_string();
        let text = refused(&sign_in, &signer.sign(signed_as, &header, &body)).await;
        assert!(
            text.contains("not for its algorithm"),
            "{algorithm} {key}: {text}"
        );
    }
}

#[tokio::test]
async fn a056_what_two_readers_could_read_differently_is_refused() {
    let sign_in = sign_in().await;
    let body = claims(&sign_in.issuer, &json!({})).to_string();
    let header = json!({"alg": "RS256", "kid": RSA.id}).to_string();
    let good = RSA.sign("RS256", &header, &body);
    let members = body.strip_prefix('{').unwrap();
    let named = header.strip_prefix('{').unwrap();
    for token in [
        RSA.sign("RS256", &header, &format!("{{\"aud\":\"other\",{members}")),
        RSA.sign(
            "RS256",
            &header,
            &format!("{{\"a\":{{\"b\":1,\"b\":2}},{members}"),
        ),
        RSA.sign("RS256", &format!("{{\"alg\":\"none\",{named}"), &body),
        RSA.sign("RS256", &header, "[]"),
        RSA.sign("RS256", &header, "7"),
        RSA.sign("RS256", &header, ""),
        RSA.sign("RS256", &header, &format!("{body}{body}")),
        RSA.sign("RS256", "[]", &body),
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "....".to_owned(),
        good.replace('.', ""),
        good.rsplit_once('.').unwrap().0.to_owned(),
        format!("{good}.{good}"),
        format!("{good}."),
        format!(" {good}"),
        good.replacen('.', "=.", 1),
    ] {
        let text = refused(&sign_in, &token).await;
        assert_eq!(
            text, "ID token: it is no signed JWT, or ambiguous",
            "{token}"
        );
    }
    let critical = json!({"alg": "RS256", "kid": RSA.id, "crit": ["exp"]}).to_string();
    let text = refused(&sign_in, &RSA.sign("RS256", &critical, &body)).await;
    assert!(text.contains("critical"), "{text}");
}

#[tokio::test]
async fn a056_a_token_that_is_too_large_is_not_read() {
    let sign_in = sign_in().await;
    let large = |size| claims(&sign_in.issuer, &json!({"x": "x".repeat(size)}));
    let token = RSA.token("RS256", &large(64 * 1024));
    assert_eq!(
        refused(&sign_in, &token).await,
        "ID token: it is larger than 64 KiB"
    );
    let outcome = sign_in.with(&RSA.token("RS256", &large(1024 * 1024))).await;
    assert!(
        matches!(outcome, Err(SignInError::Broken(_))),
        "{outcome:?}"
    );
    let token = RSA.token("RS256", &large(40 * 1024));
    sign_in.with(&token).await.unwrap();
}

#[tokio::test]
async fn a056_a_token_expires_by_the_guard_s_clock() {
    let sign_in = sign_in().await;
    let token = RSA.token("RS256", &claims(&sign_in.issuer, &json!({})));
    sign_in.with(&token).await.unwrap();
    sign_in.clock.advance(Duration::from_secs(361));
    assert_eq!(refused(&sign_in, &token).await, "ID token: it has expired");
}
