//! The supervisor: a re-exec of this binary between the guard and one child, without runtime or I/O.
