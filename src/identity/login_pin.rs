//! A GitHub login in an allow-list belongs to the account that used it first (threat case A-062).
