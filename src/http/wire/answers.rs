//! The envelope, and answers that belong to no resource.

use std::collections::BTreeMap;

use axum::{http::StatusCode, response::IntoResponse};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::Json;
use crate::{
    domain::{
        error::{Detail, Error},
        secret::SecretText,
    },
    engine::Page,
};

/// An answer that went well.
#[derive(Serialize, ToSchema)]
pub(crate) struct Success<T> {
    #[schema(example = "success")]
    status: &'static str,
    data: T,
}

impl<T> Success<T> {
    pub(crate) fn of(data: T) -> Json<Self> {
        Json(Self {
            status: "success",
            data,
        })
    }

    /// `201 Created`.
    pub(crate) fn created(data: T) -> (StatusCode, Json<Self>) {
        (StatusCode::CREATED, Self::of(data))
    }
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct Listing<T> {
    #[schema(example = "success")]
    status: &'static str,
    data: Vec<T>,
    page: PageBody,
}

/// Where a page stands in its list.
#[derive(Serialize, ToSchema)]
pub(crate) struct PageBody {
    limit: usize,
    next_cursor: Option<String>,
    /// Items on all pages; `null` where history would have to be read for it.
    total: Option<u64>,
    /// Of history: the numbers of records that are damaged and might match. At most 100 are told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<u64>,
    /// Leases whose records do not open: damage, which the doctor names. They are on no page and in no total.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable_leases: Option<u64>,
}

impl<T> Listing<T> {
    pub(crate) fn of<V>(page: Page<V>, turn: impl FnMut(V) -> T) -> Json<Self> {
        let total = Some(page.total);
        Self::counting(page, total, Vec::new(), turn)
    }

    /// A page whose items may not have been counted, and may be without some that cannot be read.
    pub(crate) fn counting<V>(
        page: Page<V>,
        total: Option<u64>,
        unreadable: Vec<u64>,
        turn: impl FnMut(V) -> T,
    ) -> Json<Self> {
        let page = page.map(turn);
        let body = PageBody {
            limit: page.limit,
            next_cursor: page.next_cursor,
            total,
            unreadable,
            unreadable_leases: (page.unreadable > 0).then_some(page.unreadable),
        };
        Json(Self {
            status: "success",
            data: page.items,
            page: body,
        })
    }
}

/// A failure.
#[derive(Serialize, ToSchema)]
pub(crate) struct Failure {
    #[schema(example = "error")]
    status: &'static str,
    #[schema(example = "MISSING_PARAMETER")]
    code: &'static str,
    message: String,
    request_id: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    details: BTreeMap<&'static str, Detail>,
}

impl Failure {
    pub(crate) fn new(error: &Error, request_id: String) -> Self {
        Self {
            status: "error",
            code: error.code().as_str(),
            message: error.message().to_owned(),
            request_id,
            details: error.details().iter().cloned().collect(),
        }
    }
}

/// A value or a handle on its way to the one who may see it: the only way for either into an answer.
#[derive(ToSchema)]
#[schema(value_type = String)]
pub(crate) struct Shown(pub(super) SecretText);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The answer to a grant or a redemption is where a secret is meant to be shown.
        serializer.serialize_str(self.0.expose())
    }
}

/// How many leases an operation ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevokedBody {
    pub(crate) revoked_leases: u64,
}

/// The caller, as the vault sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct WhoamiBody {
    pub(crate) identity: WhoBody,
    /// What proved the caller: an API key or an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<ProofBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<ProofBody>,
    pub(crate) workspace: String,
    pub(crate) role: Option<&'static str>,
    pub(crate) scopes: Vec<&'static str>,
}

/// An identity of the vault.
#[derive(Serialize, ToSchema)]
pub(crate) struct WhoBody {
    pub(crate) id: String,
    pub(crate) r#type: &'static str,
    pub(crate) name: String,
}

/// An API key or an access token, by id and name.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProofBody {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// Whether the process lives, or serves.
#[derive(Serialize, ToSchema)]
pub(crate) struct HealthBody {
    pub(crate) state: &'static str,
    pub(crate) version: &'static str,
}

impl IntoResponse for HealthBody {
    fn into_response(self) -> axum::response::Response {
        Success::of(self).into_response()
    }
}
