//! The authorization code grant towards identity providers, through the `oauth2` crate.
