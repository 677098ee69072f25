//! E-mail addresses, as far as rules compare them.
