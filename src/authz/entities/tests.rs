//! Facts in Cedar's terms.

use super::*;

#[test]
fn hours_and_weekdays_are_those_of_utc() {
    for (text, expected) in [
        ("1970-01-01T00:00:00Z", (0, 4)),
        ("2026-06-13T10:30:00Z", (10, 6)),
        ("2026-06-14T23:59:59Z", (23, 7)),
        ("2026-06-15T00:00:00Z", (0, 1)),
    ] {
        let now: Timestamp = text.parse().unwrap();
        assert_eq!(hour_and_weekday(now), expected, "{text}");
    }
}

#[test]
fn seconds_round_up() {
    let long = |millis| format!("{:?}", seconds(Span::from_millis(millis)));
    assert_eq!(
        long(3_600_000),
        format!("{:?}", RestrictedExpression::new_long(3600))
    );
    assert_eq!(
        long(3_600_001),
        format!("{:?}", RestrictedExpression::new_long(3601))
    );
}
