//! Requests a minute for each key.

use super::{isolation::Two, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_over_its_limit_is_told_when_to_come_back_and_others_go_on() {
    let two = Two::start_with("[limits]\nrequests_per_minute = 3\n");
    let number = |answer: &crate::support::Answer, name: &str| -> u64 {
        answer.headers[name].to_str().unwrap().parse().unwrap()
    };
    for remaining in [2, 1, 0] {
        let answer = two.whoami(&two.a1, None).await;
        assert_eq!(number(&answer, "ratelimit-limit"), 3);
        assert_eq!(number(&answer, "ratelimit-remaining"), remaining);
        assert!((1..=60).contains(&number(&answer, "ratelimit-reset")));
        assert!(answer.headers.get("retry-after").is_none());
        answer.data(200);
    }
    let over = two.whoami(&two.a1, None).await;
    assert!(
        (1..=21).contains(&number(&over, "retry-after")),
        "{:?}",
        over.headers
    );
    assert_eq!(number(&over, "ratelimit-remaining"), 0);
    over.fails(429, "RATE_LIMITED");
    // Another key has its own count, and a refusal for another reason counts as well.
    let astray = two.whoami(&two.admin, Some("nothing")).await;
    assert!(matches!(
        text(&astray.body, "code"),
        "NOT_FOUND" | "INSUFFICIENT_PERMISSIONS"
    ));
    two.whoami(&two.admin, None).await.data(200);
}
