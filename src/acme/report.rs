//! Lines of the log. Never holds a key; what the CA said is cleaned.

use std::time::{Duration, SystemTime};

use super::problem::Failure;
use super::record::{AttemptsRecord, CertificateRecord};
use crate::clock::Timestamp;

pub(super) fn issued(host: &str, record: &CertificateRecord) {
    tracing::info!(
        event = "certificate_issued",
        host,
        until = date(record.life.end),
        renewal = date(record.renew_at),
        proved_by = record.proved_by.name(),
        "a certificate was issued"
    );
}

pub(super) fn failed(host: &str, failure: &Failure, attempt: &AttemptsRecord) {
    tracing::warn!(
        event = "certificate_renewal_failed",
        host,
        error = failure.what,
        hint = failure.hint,
        failures = attempt.failures,
        next = date(attempt.next_at),
        "no certificate could be obtained"
    );
}

pub(super) fn expired(host: &str, since: Timestamp, error: Option<&str>) {
    tracing::error!(
        event = "certificate_expired",
        host,
        since = date(since),
        error,
        "an expired certificate is served"
    );
}

fn date(instant: Timestamp) -> String {
    // A date that no calendar holds would be a panic in there.
    let most = 253_402_300_799_999;
    let since = Duration::from_millis(instant.0.min(most));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_readable_up_to_the_end_of_time() {
        assert_eq!(date(Timestamp(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(Timestamp(u64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
