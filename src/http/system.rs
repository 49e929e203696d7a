//! `/v1/sys`: what concerns the vault as a whole.

use std::{
    fs::File,
    io::{self, Read},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use tokio::sync::mpsc;

use super::{
    Surface,
    body::OptionalPayload,
    caller::{Caller, Presented, Reader},
    error::ApiError,
    wire::*,
};
use crate::{domain::error::Error, engine::BackupFile};

/// The route of a backup, which may take longer than other requests.
pub(super) const BACKUP_ROUTE: &str = "/v1/sys/backup";
/// How long making a backup may take: a large vault is read and sealed as a whole.
pub(super) const BACKUP_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How long a client may take nothing of a backup before it is cut off.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// Bytes of a backup that are sent at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Makes a backup of the whole vault and answers it: sealed under the root key, and as of one moment.
#[utoipa::path(post, path = "/v1/sys/backup", tag = "system", request_body = EmptyBody,
    responses((status = 200, description = "The backup file, for `leasehold restore`", body = String, content_type = "application/octet-stream"),
        (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn backup(
    State(surface): State<Surface>,
    presented: Presented,
    caller: Caller,
    OptionalPayload(EmptyBody {}): OptionalPayload<EmptyBody>,
) -> Result<Response, ApiError> {
    let spooled = surface.engine().spool_backup(&caller.call()).await?;
    let call = presented.prove(&surface).await?;
    let backup = surface.engine().back_up(&call, spooled).await?;
    // Whatever is given out from here on is given to whom no stop waits for.
    drop(call);
    let reader = Reader {
        surface,
        presented,
        lasting: backup.lasting.clone(),
    };
    let at = backup.created_at.to_string().replace(':', "-");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, backup.bytes.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"leasehold-{at}.backup\""),
        ),
    ];
    Ok((headers, streamed(backup, reader)).into_response())
}

/// The file, a few pieces ahead of the client, who is proven before each. One that breaks off is shorter than its
/// announced length.
fn streamed(backup: BackupFile, reader: Reader) -> Body {
    let (pieces, ready) = mpsc::channel::<Result<Bytes, Error>>(2);
    tokio::spawn(async move {
        let mut left = backup.bytes;
        let mut backup = Some(backup);
        while let Some(held) = backup.take() {
            let read = tokio::task::spawn_blocking(move || {
                let piece = read_piece(&held.file);
                (held, piece)
            });
            let Ok((held, piece)) = read.await else {
                return;
            };
            // Let go of before the client has its last piece: it may ask for another backup at once.
            left = left.saturating_sub(piece.as_ref().map_or(left, |piece| piece.len() as u64));
            backup = (left > 0).then_some(held);
            let sent = pieces.send(piece.map_err(Error::internal));
            if !matches!(tokio::time::timeout(STALLED_AFTER, sent).await, Ok(Ok(()))) {
                return;
            }
        }
    });
    let given = futures_util::stream::unfold(Some((ready, reader)), async |state| {
        let (mut ready, reader) = state?;
        let piece = ready.recv().await?;
        match reader.may_go_on().await {
            Ok(()) => Some((piece, Some((ready, reader)))),
            Err(error) => {
                tracing::warn!(%error, "a backup broke off: its caller is let in no more");
                Some((Err(error), None))
            }
        }
    });
    Body::from_stream(given)
}

fn read_piece(mut file: &File) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    match file
        .by_ref()
        .take(PIECE_BYTES as u64)
        .read_to_end(&mut piece)?
    {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(piece.into()),
    }
}
