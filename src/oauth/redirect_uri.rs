/// A glob over redirect URIs (`--allowed-redirect-uris`); `*` does not cross `/`.
#[derive(Clone, Debug)]
pub struct RedirectPattern(pub String);
