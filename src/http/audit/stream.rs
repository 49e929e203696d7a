//! `/v1/audit/stream`: history as it grows, as server-sent events (WHATWG HTML, section 9.2).
//!
//! An event's `id` is the record's sequence number, and every matching record before it was sent: whoever comes back
//! with `Last-Event-ID` misses none and gets none twice. Only what is durable is sent. Nothing is kept for a reader
//! that is slow: the stream reads the log at the reader's pace, and is cut where that is none.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use tokio::sync::mpsc;

use super::{
    super::{
        Surface,
        caller::{Caller, Presented},
        error::ApiError,
        query::Params,
        wire::*,
    },
    filter, scope,
};
use crate::{
    audit::query::{AuditFilter, Numbered},
    domain::error::{Error, Result},
    engine::{LiveStream, Skipped},
};

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a caller is proven anew while there is nothing to send.
const PROVE_EVERY: Duration = Duration::from_secs(5);
/// How long a stream may be silent before a comment says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a reader may take nothing before it is cut off.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// Pieces ahead of the reader, each of at most a batch of records: bounds memory.
const PIECES_AHEAD: usize = 2;
/// How long a client is asked to wait before it comes back, in milliseconds.
const RETRY_MILLIS: u64 = 2000;

const LAST_EVENT_ID: &str = "last-event-id";

/// Streams the workspace's history as it grows, as server-sent events. `Last-Event-ID` goes on behind a record; an event
/// `removed` tells which of those behind it retention removed, `unreadable` which records are damaged or missing and may
/// have matched. One that history never reached is refused: the vault was put
/// back to an earlier state.
#[utoipa::path(get, path = "/v1/audit/stream", tag = "audit",
    params(("Last-Event-ID" = Option<u64>, Header, description = "Go on behind this sequence number; else behind the newest record, or at `since`"),
        ("event" = Option<String>, Query, description = "One event, or several with commas between them"),
        ("actor" = Option<String>, Query), ("identity" = Option<String>, Query), ("key_id" = Option<String>, Query), ("token_id" = Option<String>, Query),
        ("credential_name" = Option<String>, Query), ("credential_id" = Option<String>, Query), ("version" = Option<u32>, Query),
        ("lease_id" = Option<String>, Query), ("session_id" = Option<String>, Query), ("request_id" = Option<String>, Query),
        ("outcome" = Option<String>, Query), ("code" = Option<String>, Query), ("source_ip" = Option<String>, Query), ("object" = Option<String>, Query),
        ("since" = Option<String>, Query, description = "Begin at the first record of this time"),
        ("scope" = Option<String>, Query, description = "`workspace` (the default), or `organisation`: what happened to the vault itself"),
        ("follow" = Option<bool>, Query, description = "`false` ends the stream at the newest record")),
    responses((status = 200, description = "Events whose `id` is the sequence number and whose `data` is the record", body = String, content_type = "text/event-stream"),
        (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(in crate::http) async fn stream(
    State(surface): State<Surface>,
    presented: Presented,
    caller: Caller,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, ApiError> {
    let follow = params.read("follow", "`true` or `false`", |text| text.parse().ok())?;
    let filter = AuditFilter {
        since: params.time("since")?,
        ..filter(&mut params)?
    };
    let of = scope(&mut params)?;
    params.finish()?;
    let after = last_event_id(&headers)?;
    let stream = surface
        .engine()
        .begin_stream(caller.call(), filter, after, of)
        .await?;
    let (pieces, mut ready) = mpsc::channel(PIECES_AHEAD);
    let sending = Sending {
        surface,
        presented,
        stream,
        pieces,
        follow: follow.unwrap_or(true),
    };
    tokio::spawn(sending.run());
    let body = futures_util::stream::poll_fn(move |cx| ready.poll_recv(cx));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // What some proxies would gather before they pass it on.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>> {
    let Some(given) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let number = given.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        let why = "`Last-Event-ID` must be the sequence number of a record";
        Error::invalid("Last-Event-ID", why)
    })
}

/// Why a stream ends: a code for programs, words for people.
struct End(&'static str, String);

impl End {
    fn gone() -> Self {
        Self("gone", "its reader went away".to_owned())
    }

    fn stopping() -> Self {
        Self("stopping", "the vault is stopping".to_owned())
    }
}

struct Sending {
    surface: Surface,
    /// What the caller came with, to be proven again.
    presented: Presented,
    stream: LiveStream,
    pieces: mpsc::Sender<Result<Bytes, Error>>,
    follow: bool,
}

impl Sending {
    async fn run(mut self) {
        let End(code, why) = self.send().await;
        let engine = self.surface.0.engine.clone();
        let ended = format!("a live stream ends: {why}");
        let end = serde_json::json!({"code": code, "reason": why});
        let said = format!("event: end\ndata: {}\n\n", json(&end));
        // A reader that is there is told; nobody waits for one that is not.
        let _ = self.pieces.try_send(Ok(said.into()));
        drop(self.pieces);
        if let Err(error) = engine.end_stream(self.stream, &ended).await {
            tracing::warn!(%error, "the end of a live stream could not be recorded");
        }
    }

    /// Sends until the stream ends, and says why it did.
    async fn send(&mut self) -> End {
        let mut begins = format!("retry: {RETRY_MILLIS}\nid: {}\n\n", self.stream.reached());
        if let Some(skipped) = self.stream.skipped() {
            begins.push_str(&removed(skipped));
        }
        if let Err(why) = self.piece(begins).await {
            return why;
        }
        let (mut proven, mut said) = (Instant::now(), Instant::now());
        loop {
            let engine = self.surface.0.engine.clone();
            let (records, unreadable) = match engine.read_stream(&mut self.stream).await {
                Ok(found) => found,
                Err(error) => return End("failed", error.message().to_owned()),
            };
            // Whoever was stopped sees nothing that came after.
            let nothing = records.is_empty() && unreadable.is_empty();
            if !nothing || proven.elapsed() >= PROVE_EVERY {
                if let Err(error) = self.prove().await {
                    let code = error.code().as_str();
                    return End("refused", format!("{} ({code})", error.message()));
                }
                proven = Instant::now();
            }
            if nothing && !self.follow {
                return End("caught_up", "it is at the newest record".to_owned());
            }
            let piece = match nothing {
                false => damaged(&unreadable) + &events(records),
                true if said.elapsed() >= HEARTBEAT => {
                    format!(": heartbeat\nid: {}\n\n", self.stream.reached())
                }
                true => {
                    tokio::select! {
                        () = tokio::time::sleep(LOOK_EVERY) => continue,
                        () = self.pieces.closed() => return End::gone(),
                        () = self.stream.ended() => return End::stopping(),
                    }
                }
            };
            if let Err(why) = self.piece(piece).await {
                return why;
            }
            said = Instant::now();
        }
    }

    async fn piece(&mut self, piece: String) -> Result<(), End> {
        let sent = self.pieces.send(Ok(piece.into()));
        tokio::select! {
            sent = tokio::time::timeout(STALLED_AFTER, sent) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(End::gone()),
                Err(_) => Err(End("slow", "its reader took nothing for too long".to_owned())),
            },
            () = self.stream.ended() => Err(End::stopping()),
        }
    }

    async fn prove(&self) -> Result<()> {
        let call = self.presented.prove(&self.surface).await?;
        let engine: &Arc<_> = &self.surface.0.engine;
        engine.may_go_on(&self.stream.lasting, &call).await
    }
}

/// What a stream goes over.
fn removed(skipped: Skipped) -> String {
    let Skipped {
        after,
        through,
        records,
    } = skipped;
    let said = serde_json::json!({"after": after, "through": through, "records": records});
    format!("event: removed\ndata: {}\n\n", json(&said))
}

/// What a stream cannot show: it may have been what is followed.
fn damaged(sequences: &[u64]) -> String {
    if sequences.is_empty() {
        return String::new();
    }
    let said = serde_json::json!({"sequences": sequences});
    format!("event: unreadable\ndata: {}\n\n", json(&said))
}

/// Records as events.
fn events(records: Vec<Numbered>) -> String {
    let mut text = String::new();
    for found in records {
        let sequence = found.sequence;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "id: {sequence}\ndata: {}\n\n",
            json(&AuditBody::from(found))
        );
    }
    text
}

/// JSON on one line, as it always is without indentation.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
