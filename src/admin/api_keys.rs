//! Callers' API keys: listed, made and revoked.

use std::{sync::Arc, time::SystemTime};

use axum::{
    body::Bytes,
    extract::{Path, RawQuery, State},
};
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::{
    answer::{Answer, json},
    audit::{Audit, Change},
    body::tree,
    clock::Clock,
    fault::{Code, Fault},
    projects::Projects,
    query::{self, parameters},
    time::{Time, from_rfc3339},
};
use crate::{
    project::Project,
    registry::{
        ApiKey, ApiKeyId, ApiKeyStore, CallLimit, CallLimits,
        members::{self, Node, Tree, Words, read_limits, write_limits},
    },
};

/// `GET /api-keys`
pub(super) async fn list(State(keys): State<ApiKeys>, RawQuery(query): RawQuery) -> Answer {
    let mut project = None;
    parameters(query.as_deref().unwrap_or_default(), |name, value| {
        match name {
            "project" => project = value.map(str::to_owned),
            _ => return Err(query::fault(name, "is not a parameter of this list")),
        }
        Ok(())
    })?;
    let keys = keys.list(project.as_deref()).await?;
    let api_keys = keys.iter().map(|listed| View::of(listed, None)).collect();
    json(StatusCode::OK, &List { api_keys })
}

/// `POST /api-keys`
pub(super) async fn create(
    State(keys): State<ApiKeys>,
    State(projects): State<Projects>,
    body: Bytes,
) -> Answer {
    let tree = tree(&body)?;
    let entered = Entered::read(&tree)?;
    let (made, secret) = keys.make(ApiKeyId::random(), &entered).await?;
    projects.note_named(&entered.project);
    let view = View::of(&made, Some(secret.expose_secret()));
    json(StatusCode::CREATED, &view)
}

/// `DELETE /api-keys/{id}`
pub(super) async fn revoke(
    State(keys): State<ApiKeys>,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<StatusCode, Fault> {
    let id = path.ok().and_then(|Path(id)| id.parse().ok());
    keys.revoke(&id.ok_or_else(absent)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
struct List<'a> {
    api_keys: Vec<View<'a>>,
}

/// A key as it is answered.
#[derive(Serialize)]
struct View<'a> {
    id: String,
    name: &'a str,
    project: &'a str,
    source: &'static str,
    created_at: Option<Time>,
    expires_at: Option<Time>,
    last_used_at: Option<Time>,
    limits: Tree<'static>,
    /// Once, where it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

impl<'a> View<'a> {
    fn of(listed: &'a Listed, secret: Option<&'a str>) -> Self {
        let key = &listed.key;
        Self {
            id: key.id.to_string(),
            name: &key.name,
            project: key.project.name(),
            source: match listed.is_declared {
                true => "file",
                false => "store",
            },
            created_at: key.created_at.map(Time),
            expires_at: key.expires_at.map(Time),
            last_used_at: key.last_used_at.map(Time),
            limits: write_limits(&key.limits, Tree::new()),
            key: secret,
        }
    }
}

/// What an operator enters of a new key.
pub(super) struct Entered {
    pub(super) name: String,
    pub(super) project: String,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) limits: CallLimits,
}

impl Entered {
    fn read(tree: &Tree<'_>) -> Result<Self, Fault> {
        let read = || {
            let members = Node::new(tree, &Words::JSON).table("must be an object")?;
            members.allow(["name", "project", "expires_at", "limits"])?;
            let text = |name| Ok(members.require(name)?.text()?.trim().to_owned());
            let expires_at = members.get("expires_at").map(|at| {
                let time = from_rfc3339(at.text()?);
                let reason = "must be a time such as 2030-01-31T00:00:00Z, or null for never";
                time.ok_or_else(|| at.fault(reason))
            });
            Ok(Self {
                name: text("name")?,
                project: text("project")?,
                expires_at: expires_at.transpose()?,
                limits: members
                    .get("limits")
                    .map_or(Ok(CallLimits::default()), limits)?,
            })
        };
        read().map_err(|fault: crate::registry::members::Fault| recoded(fault.into()))
    }
}

/// Reads the limits of a key that were entered in a form.
pub(super) fn limits_entered(tree: &Tree<'_>) -> Result<CallLimits, Fault> {
    let read = limits(Node::new(tree, &Words::JSON));
    read.map_err(|fault| recoded(fault.into()))
}

/// Reads the limits of a key.
fn limits(at: Node<'_>) -> Result<CallLimits, members::Fault> {
    let members = at.table("must be an object")?;
    members.allow(CallLimit::ALL.map(CallLimit::as_str))?;
    read_limits(&members, "revoke the key")
}

/// A key, and whether a file declares it.
pub(super) struct Listed {
    pub(super) key: Arc<ApiKey>,
    pub(super) is_declared: bool,
}

/// The keys of one organization.
#[derive(Clone)]
pub(super) struct ApiKeys {
    store: Option<Arc<dyn ApiKeyStore>>,
    /// Why none can be made, where that is so.
    refusal: Option<Arc<str>>,
    organization: Arc<str>,
    clock: Clock,
    audit: Audit,
}

impl ApiKeys {
    pub(super) fn new(
        store: Option<Arc<dyn ApiKeyStore>>,
        refusal: Option<Arc<str>>,
        organization: Arc<str>,
        clock: Clock,
        audit: Audit,
    ) -> Self {
        Self {
            store,
            refusal,
            organization,
            clock,
            audit,
        }
    }

    /// Returns `true` if this side was told where keys are kept.
    pub(super) fn are_kept(&self) -> bool {
        self.store.is_some()
    }

    /// The reason for which no key can be made, if there is one.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Returns `true` if requests want a key, as far as this side knows.
    pub(super) fn are_wanted(&self) -> Result<bool, Fault> {
        let store = self.store()?;
        Ok(
            store.api_keys()?.were_made()
                || !store.declared_api_keys(&self.organization).is_empty(),
        )
    }

    fn store(&self) -> Result<&dyn ApiKeyStore, Fault> {
        self.store.as_deref().ok_or_else(|| {
            let message = "nobody told this side where callers' API keys are kept";
            Fault::new(Code::NotFound, message)
        })
    }

    /// The keys of a project, or all; those of a file first, then the newest.
    pub(super) async fn list(&self, project: Option<&str>) -> Result<Vec<Listed>, Fault> {
        let store = self.store()?;
        let stored = store.list_api_keys(&self.organization).await?;
        let declared = store.declared_api_keys(&self.organization).into_iter();
        let declared = declared.map(|key| Listed {
            key,
            is_declared: true,
        });
        let stored = stored.into_iter().map(|key| Listed {
            key: Arc::new(key),
            is_declared: false,
        });
        let all = declared.chain(stored);
        let wanted =
            all.filter(|listed| project.is_none_or(|project| listed.key.project.name() == project));
        Ok(wanted.collect())
    }

    /// The key of this id.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub(super) async fn get(&self, id: &ApiKeyId) -> Result<Listed, Fault> {
        let mut all = self.list(None).await?.into_iter();
        all.find(|listed| listed.key.id == *id).ok_or_else(absent)
    }

    /// Makes a key with this id.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] with the member that is wrong; [`Code::Conflict`] if there is a key
    /// of this id, or none can be made here.
    pub(super) async fn make(
        &self,
        id: ApiKeyId,
        entered: &Entered,
    ) -> Result<(Listed, SecretString), Fault> {
        let store = self.store()?;
        if let Some(reason) = self.refusal() {
            return Err(Fault::new(Code::Conflict, reason));
        }
        let now = self.clock.now();
        if entered.expires_at.is_some_and(|at| at <= now) {
            let reason = "must be in the future";
            return Err(Fault::of(Code::InvalidRequest, "expires_at", reason));
        }
        let project = Project::new(&*entered.project).with_organization(self.organization.clone());
        let made = ApiKey::generate(&*entered.name, project);
        let (mut key, secret) = made.map_err(|error| recoded(error.into()))?;
        key.id = id;
        key.created_at = Some(now);
        key.expires_at = entered.expires_at;
        key.limits = entered.limits;
        let made = Listed {
            key: Arc::new(key.clone()),
            is_declared: false,
        };
        let change = Change::new("api_key.create", &key.name).after(&View::of(&made, None));
        let inserting = async {
            let inserted = store.insert_api_key(key.clone()).await;
            if inserted.map_err(|error| recoded(error.into()))? {
                return Ok(());
            }
            let message = "this key was made already, and is shown only once; make another one";
            Err(Fault::new(Code::Conflict, message))
        };
        self.audit.around(change, inserting).await?;
        tracing::info!(
            action = "create",
            id = %key.id,
            project = key.project.name(),
            "an API key was made"
        );
        Ok((made, secret))
    }

    /// Revokes a key, and returns what it was.
    ///
    /// # Errors
    /// [`Code::NotFound`]; [`Code::DeclaredInFile`] for a key of a file.
    pub(super) async fn revoke(&self, id: &ApiKeyId) -> Result<Arc<ApiKey>, Fault> {
        let listed = self.get(id).await?;
        if listed.is_declared {
            let message = "this API key is declared in the configuration file; remove it there";
            return Err(Fault::new(Code::DeclaredInFile, message));
        }
        let change = Change::new("api_key.revoke", &listed.key.name);
        let change = change.before(&View::of(&listed, None));
        let revoking = async {
            let revoked = self.store()?.revoke_api_key(&self.organization, id);
            if revoked.await? {
                Ok(())
            } else {
                Err(absent())
            }
        };
        self.audit.around(change, revoking).await?;
        let key = listed.key;
        tracing::info!(
            action = "revoke",
            id = %key.id,
            project = key.project.name(),
            "an API key was revoked"
        );
        Ok(key)
    }
}

fn absent() -> Fault {
    let message = "there is no API key of this id; it may have been revoked";
    Fault::new(Code::NotFound, message)
}

/// What is wrong with what was sent; nothing of it is a server.
/// Checks the name or the project of a key.
pub(super) fn check(field: &'static str, text: &str) -> Result<(), Fault> {
    ApiKey::check(field, text).map_err(|error| recoded(error.into()))
}

fn recoded(fault: Fault) -> Fault {
    match fault.code() {
        Code::InvalidServer => fault.with_code(Code::InvalidRequest),
        _ => fault,
    }
}
