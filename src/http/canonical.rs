//! From what hyper accepted to an [`super::Inbound`], or a refusal. One function, before anything else:
//! it rejects and never repairs, so that the gate and the forwarder see the same bytes
//! (design rule D-21; threat cases A-106 … ).
