//! Query strings, read strictly: known parameters, each once.

use std::collections::BTreeMap;

use axum::{extract::FromRequestParts, http::request::Parts};
use utoipa::IntoParams;

use super::{body::harmless, error::ApiError};
use crate::{
    domain::{
        error::{Error, Result},
        time::{TimeRange, Timestamp},
    },
    engine::PageRequest,
};

/// Which page of a list, as the API's description tells of it; [`Params::page`] reads it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "its fields describe parameters")]
pub(super) struct Paging {
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u64>,
    cursor: Option<String>,
    offset: Option<u64>,
}

/// The parameters of a request; whoever reads them calls [`Params::finish`] last.
pub(super) struct Params(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut params = BTreeMap::new();
        let query = parts.uri.query().unwrap_or_default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            // What is not UTF-8 is read as this character, and would be looked for as such.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(Error::invalid(
                    harmless(&name),
                    format!("`{}` is not UTF-8", harmless(&name)),
                )
                .into());
            }
            if params.contains_key(&*name) {
                return Err(Error::invalid(
                    harmless(&name),
                    format!("`{}` is given twice", harmless(&name)),
                )
                .into());
            }
            params.insert(name.into_owned(), value.into_owned());
        }
        Ok(Self(params))
    }
}

impl Params {
    /// The parameter as text.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// The parameter as anything that is read from text; `expected` says what it must be.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(text) = self.0.remove(name) else {
            return Ok(None);
        };
        read(&text)
            .map(Some)
            .ok_or_else(|| Error::invalid(name, format!("`{name}` must be {expected}")))
    }

    /// The parameter as a whole number.
    pub(super) fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        // `parse` alone would take a plus sign, which no other client of the list sends.
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        self.read(name, "a whole number in range", |text| {
            text.parse().ok().filter(|_| digits(text))
        })
    }

    /// The parameter as an instant.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<Timestamp>> {
        self.read(
            name,
            "an RFC 3339 timestamp such as `2026-06-13T10:30:00Z`",
            |text| text.parse().ok(),
        )
    }

    /// The stretch of time from `since` until before `until`.
    pub(super) fn range(&mut self) -> Result<TimeRange> {
        Ok(TimeRange {
            since: self.time("since")?,
            until: self.time("until")?,
        })
    }

    /// The parameter as `true` or `false`.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool> {
        let flag = self.read(name, "`true` or `false`", |text| text.parse().ok())?;
        Ok(flag.unwrap_or(false))
    }

    /// Every parameter whose name begins with `prefix`, which is cut off.
    pub(super) fn prefixed(&mut self, prefix: &str) -> BTreeMap<String, String> {
        let names: Vec<String> = self
            .0
            .keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect();
        let mut found = BTreeMap::new();
        for name in names {
            if let (Some(rest), Some(value)) = (name.strip_prefix(prefix), self.0.remove(&name)) {
                found.insert(rest.to_owned(), value);
            }
        }
        found
    }

    /// What nobody has read yet, as it was given.
    pub(super) fn given(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }

    /// Which page is wanted.
    pub(super) fn page(&mut self) -> Result<PageRequest> {
        Ok(PageRequest {
            limit: self.number("limit")?,
            cursor: self.text("cursor"),
            offset: self.number("offset")?,
            sort: self.text("sort"),
        })
    }

    /// Refuses what nobody read.
    pub(super) fn finish(self) -> Result<()> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name = harmless(name);
                Err(Error::invalid(
                    &name,
                    format!("`{name}` is not a parameter of this request"),
                ))
            }
        }
    }
}

/// A path's parameters, percent-decoded, as text. The engine's types hold them to their form.
pub(super) struct Segments<T>(pub(super) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(segments)) => Ok(Self(segments)),
            Err(_) => Err(Error::invalid("path", "a part of the path cannot be read").into()),
        }
    }
}
