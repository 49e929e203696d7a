//! History as events of the Open Cybersecurity Schema Framework, <https://schema.ocsf.io/1.3.0>: an object of JSON a line.
//!
//! | events | class |
//! | --- | --- |
//! | `canary.…` | Detection Finding (2004) |
//! | `identity.…`, `key.…` | Account Change (3001) |
//! | `auth.…`, `key.refused`, `token.refused` | Authentication (3002) |
//! | all others | API Activity (6003), the event as `api.operation` |
//! | lines of a proof that are no record | Base Event (0) |
//!
//! What has no place in a class stays, by its own name, in `unmapped`: nothing of a record is lost.

use serde_json::{Map, Value, json};

use crate::{
    audit::export::carried,
    domain::{
        error::{Error, Result},
        time::Timestamp,
    },
};

/// The version of the schema.
const VERSION: &str = "1.3.0";
const PRODUCT: &str = "Leasehold";
/// The service's name as an endpoint, and as the provider of the log.
const SERVICE: &str = "leasehold";
const LOG: &str = "audit";
/// Every class's number for what its own list of activities does not have.
const OTHER: u64 = 99;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    DetectionFinding,
    AccountChange,
    Authentication,
    ApiActivity,
}

impl Class {
    fn of(event: &str) -> Self {
        match event.split_once('.').unwrap_or_default() {
            ("canary", _) => Self::DetectionFinding,
            ("auth", _) | ("key" | "token", "refused") => Self::Authentication,
            ("identity" | "key", _) => Self::AccountChange,
            _ => Self::ApiActivity,
        }
    }

    /// Number and name of the class, and of its category.
    const fn names(self) -> ((u64, &'static str), (u64, &'static str)) {
        match self {
            Self::DetectionFinding => ((2004, "Detection Finding"), (2, "Findings")),
            Self::AccountChange => (
                (3001, "Account Change"),
                (3, "Identity & Access Management"),
            ),
            Self::Authentication => (
                (3002, "Authentication"),
                (3, "Identity & Access Management"),
            ),
            Self::ApiActivity => ((6003, "API Activity"), (6, "Application Activity")),
        }
    }

    /// Number and name of what happened; the event's own name where the class has none.
    fn activity(self, event: &str) -> (u64, &str) {
        let verb = event.split_once('.').unwrap_or_default().1;
        match (self, verb) {
            (Self::DetectionFinding, _) => (1, "Create"),
            (Self::AccountChange, "created") => (1, "Create"),
            (Self::AccountChange, "resumed") => (2, "Enable"),
            (Self::AccountChange, "rotated") => (3, "Password Change"),
            (Self::AccountChange, "suspended" | "paused") => (5, "Disable"),
            (Self::AccountChange, "deleted") => (6, "Delete"),
            (Self::Authentication, "exchanged" | "refused" | "failed") => (1, "Logon"),
            (Self::ApiActivity, "created" | "issued") => (1, "Create"),
            (Self::ApiActivity, "read" | "redeemed" | "exported") => (2, "Read"),
            (Self::ApiActivity, "updated" | "renewed" | "rotated" | "applied" | "rolled_back") => {
                (3, "Update")
            }
            (
                Self::ApiActivity,
                "deleted" | "expired" | "released" | "revoked" | "bulk_revoked" | "revoked_all"
                | "version_retired" | "version_revoked",
            ) => (4, "Delete"),
            _ => (OTHER, event),
        }
    }
}

/// Writes a record, as answers show it, as one line, with the line that proves it where there is one.
pub(super) fn line(record: Value, proof: Option<&str>, out: &mut Vec<u8>) -> Result<()> {
    let Value::Object(record) = record else {
        return Err(Error::internal("a record is no object"));
    };
    let mut event = event(record)?;
    if let (Some(fields), Some(proof)) = (event.as_object_mut(), proof) {
        fields.insert(carried::ATTRIBUTE.to_owned(), proof.into());
    }
    write(&event, out)
}

/// Writes a line of the proof that is of no record.
pub(super) fn proof(line: &str, time: Timestamp, out: &mut Vec<u8>) -> Result<()> {
    let event = json!({
        "activity_id": OTHER,
        "activity_name": "Proof",
        "category_name": "Uncategorized",
        "category_uid": 0,
        "class_name": "Base Event",
        "class_uid": 0,
        "metadata": {
            "log_name": LOG,
            "log_provider": SERVICE,
            "product": product(),
            "version": VERSION,
        },
        (carried::ATTRIBUTE): line,
        "severity": "Informational",
        "severity_id": 1,
        "time": time.as_millis(),
        "type_uid": OTHER,
    });
    write(&event, out)
}

fn write(event: &Value, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(&mut *out, event).map_err(Error::internal)?;
    out.push(b'\n');
    Ok(())
}

/// Without a version: an event that carries its proof is the same whichever version shows or verifies it.
fn product() -> Value {
    json!({"name": PRODUCT, "vendor_name": PRODUCT})
}

fn event(mut record: Map<String, Value>) -> Result<Value> {
    let mut take = |name: &str| record.remove(name).filter(|value| !value.is_null());
    let event = text(take("event"));
    let time = text(take("time"));
    let millis = time
        .parse::<Timestamp>()
        .map_err(Error::internal)?
        .as_millis();
    let class = Class::of(&event);
    let ((class_uid, class_name), (category_uid, category_name)) = class.names();
    let (activity_id, activity_name) = class.activity(&event);
    let refused = take("outcome").is_some_and(|outcome| outcome == "refused");
    let (id, request) = (take("id"), take("request_id"));
    let who = take("actor").unwrap_or_default();
    let source = match take("source_ip") {
        Some(ip) => json!({"ip": ip}),
        None => json!({"svc_name": SERVICE}),
    };
    let mut told = object(json!({
        "activity_id": activity_id,
        "activity_name": activity_name,
        "actor": actor(&who),
        "category_name": category_name,
        "category_uid": category_uid,
        "class_name": class_name,
        "class_uid": class_uid,
        "message": format!("{event} by {}", text(who.get("name").cloned())),
        "metadata": present(json!({
            "correlation_uid": request,
            "event_code": event,
            "log_name": LOG,
            "log_provider": SERVICE,
            "original_time": time,
            "product": product(),
            "sequence": take("sequence"),
            "uid": id,
            "version": VERSION,
        })),
        "severity": severity(class, refused).1,
        "severity_id": severity(class, refused).0,
        "src_endpoint": source,
        "status_code": take("code"),
        "status_detail": take("reason"),
        "time": millis,
        "type_uid": class_uid * 100 + activity_id,
    }));
    let (status_id, status) = match (class, refused) {
        (Class::DetectionFinding, _) => (1, "New"),
        (_, false) => (1, "Success"),
        (_, true) => (2, "Failure"),
    };
    let mut add = |name: &str, value: Value| told.insert(name.to_owned(), value);
    add("status_id", json!(status_id));
    add("status", json!(status));
    if let Some(agent) = take("user_agent") {
        add(
            "http_request",
            present(json!({"uid": request, "user_agent": agent})),
        );
    }
    let resources = resources(&mut take);
    if !resources.is_empty() {
        add("resources", resources.into());
    }
    match class {
        Class::ApiActivity => {
            let request = request.map(|uid| json!({"uid": uid}));
            let api = json!({"operation": event, "request": request, "service": {"name": SERVICE}});
            add("api", present(api));
        }
        Class::DetectionFinding => {
            let title = format!("A canary credential was used ({event})");
            let info = json!({"uid": id, "title": title, "created_time": millis});
            add("finding_info", present(info));
        }
        Class::AccountChange => {
            let user = json!({"name": take("holder"), "uid": take("object")});
            add("user", user_or(user, &who));
        }
        Class::Authentication => {
            add("service", json!({"name": SERVICE}));
            let user = json!({"name": take("holder"), "uid": take("object")});
            add("user", user_or(user, &who));
        }
    }
    // Whatever was not taken.
    add("unmapped", Value::Object(record));
    Ok(present(Value::Object(told)))
}

/// How grave it is: a canary's alarm, a refusal, anything else.
const fn severity(class: Class, refused: bool) -> (u64, &'static str) {
    match (class, refused) {
        (Class::DetectionFinding, _) => (4, "High"),
        (_, true) => (2, "Low"),
        (_, false) => (1, "Informational"),
    }
}

/// Who acted: an identity as a user, with the key or token that proved it, or the vault as an application.
fn actor(who: &Value) -> Value {
    match who.get("type").and_then(Value::as_str) {
        Some("vault") | None => {
            let part = who.get("name").and_then(Value::as_str).unwrap_or_default();
            json!({"app_name": format!("{SERVICE}/{part}")})
        }
        Some(kind) => json!({"user": user(who, kind)}),
    }
}

fn user(who: &Value, kind: &str) -> Value {
    let proof = ["key_id", "token_id"]
        .iter()
        .find_map(|name| who.get(*name));
    present(json!({
        "credential_uid": proof,
        "name": who.get("name"),
        "type": kind,
        "type_id": if kind == "human" { 1 } else { OTHER },
        "uid": who.get("identity_id"),
    }))
}

/// The user that it is about; who acted, where it is about nobody else.
fn user_or(user: Value, who: &Value) -> Value {
    let user = present(user);
    match user.as_object().is_some_and(Map::is_empty) {
        false => user,
        true => self::user(
            who,
            who.get("type").and_then(Value::as_str).unwrap_or_default(),
        ),
    }
}

/// What it was done to.
fn resources(take: &mut impl FnMut(&str) -> Option<Value>) -> Vec<Value> {
    let (name, uid) = (take("credential_name"), take("credential_id"));
    let version = take("version").map(|number| number.to_string());
    let about = name.is_some() || uid.is_some() || version.is_some();
    let credential = json!({"name": name, "type": "credential", "uid": uid, "version": version});
    let lease = take("lease_id").map(|id| json!({"type": "lease", "uid": id}));
    let credential = about.then(|| present(credential));
    credential.into_iter().chain(lease).collect()
}

/// The object without the fields that are null.
fn present(value: Value) -> Value {
    let mut fields = object(value);
    fields.retain(|_, value| !value.is_null());
    Value::Object(fields)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn text(value: Option<Value>) -> String {
    match value {
        Some(Value::String(text)) => text,
        _ => String::new(),
    }
}
