//! An issuer on the loopback interface that says what a test has it say, and remembers what it was
//! asked. Its signatures are real.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";
pub(crate) const JWKS: &str = "/jwks";
pub(crate) const TOKEN: &str = "/token";
pub(crate) const USERINFO: &str = "/userinfo";

/// Ends with the value.
pub(crate) struct FakeIssuer {
    /// Without a slash at its end.
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Script {
    answers: HashMap<String, Answer>,
    asked: Vec<Asked>,
}

#[derive(Clone)]
pub(crate) enum Answer {
    Says {
        status: u16,
        content_type: &'static str,
        body: String,
    },
    /// Closes the connection without a word.
    HangsUp,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json; charset=utf-8", body.to_string())
    }

    pub(crate) fn text(status: u16, content_type: &'static str, body: impl Into<String>) -> Self {
        Self::Says {
            status,
            content_type,
            body: body.into(),
        }
    }
}

impl Asked {
    /// A parameter of the form that was sent.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.body.as_bytes());
        pairs
            .find(|pair| pair.0 == name)
            .map(|pair| pair.1.into_owned())
    }
}

impl FakeIssuer {
    /// With metadata and an RSA key. Whoever asks for tokens gets none yet.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::<Mutex<Script>>::default();
        let server = tokio::spawn(serve(listener, Arc::clone(&script)));
        let issuer = Self {
            url,
            script,
            server,
        };
        issuer.answer(DISCOVERY, Answer::json(200, &issuer.metadata()));
        issuer.publish(&[&RSA]);
        issuer
    }

    pub(crate) fn metadata(&self) -> Value {
        let url = &self.url;
        json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}{TOKEN}"),
            "jwks_uri": format!("{url}{JWKS}"),
            "userinfo_endpoint": format!("{url}{USERINFO}"),
        })
    }

    /// From now on, this is the answer at this path.
    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.script().answers.insert(path.to_owned(), answer);
    }

    /// Metadata with these members changed.
    pub(crate) fn describe(&self, changes: &Value) {
        let mut metadata = self.metadata();
        for (name, value) in changes.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        self.answer(DISCOVERY, Answer::json(200, &metadata));
    }

    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        self.answer(JWKS, Answer::json(200, &json!({"keys": keys})));
    }

    /// Whoever redeems a code gets this ID token.
    pub(crate) fn give(&self, id_token: &str) {
        let tokens = json!({"access_token": "at", "token_type": "Bearer", "id_token": id_token});
        self.answer(TOKEN, Answer::json(200, &tokens));
    }

    /// What was asked at this path, in order.
    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        let script = self.script();
        let at_path = script.asked.iter().filter(|asked| asked.path == path);
        at_path.cloned().collect()
    }

    /// All paths that anybody ever asked for.
    pub(crate) fn paths(&self) -> Vec<String> {
        let script = self.script();
        let mut paths: Vec<_> = script
            .asked
            .iter()
            .map(|asked| asked.path.clone())
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

impl Drop for FakeIssuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(stream, Arc::clone(&script)));
    }
}

async fn converse(stream: TcpStream, script: Arc<Mutex<Script>>) {
    let service = service_fn(|request| reply(request, &script));
    // A connection that ends early is what a test may want.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn reply(
    request: Request<Incoming>,
    script: &Mutex<Script>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?;
    let path = head.uri.path().to_owned();
    let answer = {
        let mut script = script.lock().unwrap();
        script.asked.push(Asked {
            path: path.clone(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        });
        script.answers.get(&path).cloned()
    };
    match answer {
        Some(Answer::HangsUp) => Err(std::io::Error::other("hung up")),
        Some(Answer::Says {
            status,
            content_type,
            body,
        }) => Ok(response(status, content_type, body)),
        None => Ok(response(404, "text/plain", "no such page".to_owned())),
    }
}

fn response(status: u16, content_type: &str, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    let response = response.header(CONTENT_TYPE, content_type);
    response.body(Full::new(body.into())).unwrap()
}

/// A key with its name.
pub(crate) struct SigningKey {
    pub(crate) id: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
}

pub(crate) static RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rsa("rsa"));
pub(crate) static OTHER_RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rsa("other"));
pub(crate) static P256: LazyLock<SigningKey> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    SigningKey::new("p256", Pair::Ec(pair, "P-256"))
});
pub(crate) static P384: LazyLock<SigningKey> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    SigningKey::new("p384", Pair::Ec(pair, "P-384"))
});
pub(crate) static ED25519: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::new("ed", Pair::Ed(Ed25519KeyPair::generate().unwrap())));

impl SigningKey {
    const fn new(id: &'static str, pair: Pair) -> Self {
        Self { id, pair }
    }

    fn rsa(id: &'static str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self::new(id, Pair::Rsa(Box::new(pair)))
    }

    /// The public half (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": encode(public.n), "e": encode(public.e)})
            }
            Pair::Ec(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())})
            }
        };
        jwk["kid"] = self.id.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A token with this key's name in its header.
    pub(crate) fn token(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": self.id});
        self.sign(algorithm, &header.to_string(), &claims.to_string())
    }

    /// A token with any header and any claims, signed as `algorithm` says.
    pub(crate) fn sign(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let message = signed.as_bytes();
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let encoding = rsa_encoding(algorithm);
                pair.sign(encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Pair::Ec(pair, _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        };
        format!("{signed}.{}", encode(signature))
    }
}

fn rsa_encoding(algorithm: &str) -> &'static dyn RsaEncoding {
    match algorithm {
        "RS256" => &RSA_PKCS1_SHA256,
        "RS384" => &RSA_PKCS1_SHA384,
        "RS512" => &RSA_PKCS1_SHA512,
        "PS256" => &RSA_PSS_SHA256,
        "PS384" => &RSA_PSS_SHA384,
        "PS512" => &RSA_PSS_SHA512,
        _ => panic!("no RSA algorithm: {algorithm}"),
    }
}

/// Lets time pass for whatever waits by tokio's clock. Only while no request is under way.
pub(crate) async fn let_pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
