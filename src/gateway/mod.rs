//! Client-side transports: streamable HTTP of the legacy era.
