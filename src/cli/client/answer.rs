//! What the vault answered, read leniently. An answer may hold a value or a handle: its text and its parsed
//! form are wiped when it is dropped, and its `Debug` shows neither.

use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

/// An answer of the vault, or of whatever listens at its address.
pub(super) struct Answer {
    status: StatusCode,
    request_id: Option<String>,
    retry_after: Option<u64>,
    text: Zeroizing<String>,
    json: Value,
}

impl Answer {
    pub(super) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        mut bytes: Zeroizing<Vec<u8>>,
    ) -> Self {
        let text = match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(text) => Zeroizing::new(text),
            Err(error) => {
                let bytes = Zeroizing::new(error.into_bytes());
                Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
            }
        };
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            status,
            request_id: header("x-request-id").map(str::to_owned),
            retry_after: header(RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok()),
            json: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }

    #[cfg(test)]
    pub(super) fn for_test(status: u16, body: &str) -> Self {
        let status = StatusCode::from_u16(status).unwrap();
        Self::new(status, &HeaderMap::new(), Zeroizing::new(body.into()))
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body as it came.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the body is a JSON object, as every body of the vault's API is.
    pub(super) fn is_json_object(&self) -> bool {
        self.json.is_object()
    }

    /// The id under which the vault logged the request.
    pub(super) fn request_id(&self) -> Option<&str> {
        self.field("request_id").or(self.request_id.as_deref())
    }

    /// The seconds that the vault asked to wait.
    pub(super) fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    /// A text at the top of the body.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.member(name).as_str()
    }

    /// Anything at the top of the body; null where it is missing.
    pub(super) fn member(&self, name: &str) -> &Value {
        self.json.get(name).unwrap_or(&Value::Null)
    }

    /// What was asked for.
    pub(super) fn data(&self) -> &Value {
        self.member("data")
    }

    /// The rows of a list.
    pub(super) fn rows(&self) -> &[Value] {
        self.data().as_array().map_or(&[], Vec::as_slice)
    }

    /// Where the next page starts, and how many rows there are in all.
    pub(super) fn next_page(&self) -> Option<(&str, Option<u64>)> {
        let page = self.member("page");
        let cursor = page.get("next_cursor")?.as_str()?;
        Some((cursor, page.get("total").and_then(Value::as_u64)))
    }

    /// The numbers of records that the page may be without, since they cannot be read.
    pub(super) fn unreadable(&self) -> impl Iterator<Item = u64> {
        let numbers = self.member("page").get("unreadable");
        let numbers = numbers
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        numbers.iter().filter_map(Value::as_u64)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        wipe(&mut self.json);
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiping_reaches_every_text() {
        let mut value = serde_json::json!({ "a": "s", "b": [{ "c": "s" }, "s"], "d": 1 });
        wipe(&mut value);
        assert_eq!(
            value,
            serde_json::json!({ "a": "", "b": [{ "c": "" }, ""], "d": 1 })
        );
    }

    #[test]
    fn debug_shows_no_content() {
        let answer = Answer::for_test(201, r#"{"data":{"value":"s3cret"}}"#);
        assert!(!format!("{answer:?}").contains("s3cret"));
    }

    #[test]
    fn odd_bodies_are_read_as_far_as_they_go() {
        for body in ["", "ok", "[]", "{", "{\"data\":7}", "\u{0}"] {
            let answer = Answer::for_test(200, body);
            assert!(
                answer.rows().is_empty() && answer.next_page().is_none(),
                "{body}"
            );
        }
        let answer = Answer::for_test(200, r#"{"data":[1],"page":{"next_cursor":"c","total":9}}"#);
        assert_eq!(
            (answer.rows().len(), answer.next_page()),
            (1, Some(("c", Some(9))))
        );
    }
}
