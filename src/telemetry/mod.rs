//! Logs: where they go and in what shape.
