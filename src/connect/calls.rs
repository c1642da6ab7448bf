//! Tool calls, with the current credential, in a session that the caller may share.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use tokio::time::{Instant, sleep, timeout};

use super::{
    access::Access,
    call::{CallToolError, CallToolRequest},
    credentials::Credentials,
    peer::Peer,
    pool::Pool,
    reason::inactive,
    session::{ExchangeSessions, Session},
    watch::{Effect, Watch, note_failure},
};
use crate::{
    caller::CallerTokens,
    inactive::Inactive,
    mcp::{self, CallToolResult, ErrorKind},
    registry::{Server, Stage},
    trace_parent::TraceParent,
};

/// The longest timeout; it keeps the sum with the present time within bounds.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The time after which a running call is given a renewed token, if there is one: less than the
/// minute before its end in which a token is renewed.
const RENEWAL: Duration = Duration::from_secs(30);

/// Calls of the tools of all servers.
pub(super) struct Calls {
    pool: Arc<Pool>,
    credentials: Credentials,
    watch: Option<Watch>,
}

/// One call in progress, and everything that its attempts share.
struct Attempts<'a> {
    server: &'a Server,
    tokens: &'a CallerTokens,
    call: CallToolRequest<'a>,
    exchange: &'a ExchangeSessions,
    /// The trace, if it is sent to the server.
    trace: Option<&'a TraceParent>,
    /// The longest silence, and the longest attempt.
    silence: Duration,
    longest: Duration,
    ends: Instant,
}

impl Calls {
    pub(super) fn new(pool: Arc<Pool>, credentials: Credentials, watch: Option<Watch>) -> Self {
        Self {
            pool,
            credentials,
            watch,
        }
    }

    /// Calls a tool; once more with a renewed token if the first one was refused.
    pub(super) async fn call(
        &self,
        server: &Server,
        tokens: &CallerTokens,
        call: CallToolRequest<'_>,
    ) -> Result<CallToolResult, CallToolError> {
        let own;
        let exchange = match call.exchange {
            Some(exchange) => exchange,
            None => {
                own = self.pool.exchange();
                &own
            }
        };
        let limits = &self.pool.limits;
        let (silence, longest) = server.call_time(limits.call, limits.call_max);
        let attempts = Attempts {
            server,
            tokens,
            call,
            exchange,
            silence: call.silence.min(silence),
            longest,
            trace: call.trace.filter(|_| self.is_told_traces(server)),
            ends: Instant::now() + call.timeout.min(LONGEST),
        };
        let patience = attempts.silence.min(call.timeout);
        let access = timeout(patience, self.credentials.of(server, tokens));
        let access = access.await.map_err(|_| slow())??;
        // Boxed, since it is large, and each future around it would be copied with it.
        let error = match Box::pin(self.attempt(&attempts, &access)).await {
            Err(CallToolError::Failed(error)) => error,
            called => return called,
        };
        let again = self.credentials.after(server, &access, &error);
        let again = timeout(attempts.silence.min(attempts.left()), again);
        match again.await.map_err(|_| slow())?? {
            Some(access) => Box::pin(self.attempt(&attempts, &access)).await,
            None => Err(error.into()),
        }
    }

    /// Sends the call with one credential. The peer is looked up each time: a renewed token may
    /// be of another authorization, and a session is of one.
    async fn attempt(
        &self,
        attempts: &Attempts<'_>,
        access: &Access,
    ) -> Result<CallToolResult, CallToolError> {
        let Attempts {
            server,
            tokens,
            call,
            exchange,
            trace,
            ..
        } = *attempts;
        let whole = attempts.left().min(attempts.longest);
        let peer = self.pool.peer(server, access)?;
        peer.health().may_call()?;
        let whose = tokens.whose();
        let session = self.pool.session(server, access, &peer, &whose, exchange);
        let client = session.client(access);
        let called = pin!(client.call(mcp::Call {
            name: call.tool,
            arguments: call.arguments,
            trace,
            silence: attempts.silence,
            whole,
            on_progress: call.on_progress,
        }));
        let called = match &access.token {
            None => called.await,
            Some(_) => {
                let renewing = pin!(self.renew(attempts, &peer, &session));
                match select(called, renewing).await {
                    Either::Left((called, _)) => called,
                    Either::Right((never, _)) => match never {},
                }
            }
        };
        self.note(server, access, &peer, &called).await;
        called.map_err(CallToolError::Failed)
    }

    /// Gives the session each renewed token of the same authorization while a call runs: a task is
    /// asked for long after the first one may have expired.
    async fn renew(&self, attempts: &Attempts<'_>, peer: &Peer, session: &Session) -> Infallible {
        loop {
            sleep(RENEWAL).await;
            let access = self.credentials.of(attempts.server, attempts.tokens).await;
            if let Ok(access) = access
                && let Ok(other) = self.pool.peer(attempts.server, &access)
                && other.key == peer.key
            {
                drop(session.client(&access));
            }
        }
    }

    /// Notes whether a call found a connection: after too many without, the server is left alone.
    async fn note(
        &self,
        server: &Server,
        access: &Access,
        peer: &Arc<Peer>,
        called: &Result<CallToolResult, mcp::Error>,
    ) {
        let error = match called {
            // What breaks off or takes long may be the doing of one tool, or of one caller.
            Err(error) if error.kind() == ErrorKind::Unreachable => error,
            Ok(_) => {
                self.pool.keep(server, access, peer);
                return peer.health().called();
            }
            Err(_) => return peer.health().called(),
        };
        let reason = inactive(server, error);
        if peer.health().call_failed(&reason) {
            let detail = error.detail();
            tracing::warn!(server = %server.name, %reason, detail, "the server is left alone after failed calls");
            peer.set_list(None);
            self.pool.peers(server).set_detail(detail.map(Arc::from));
            let watch = self.watch.as_ref();
            note_failure(watch, server, Stage::Call, &reason, detail, Effect::Refused).await;
        }
    }

    /// Returns `true` if calls of `server` carry the trace that they are a part of.
    fn is_told_traces(&self, server: &Server) -> bool {
        let default = || self.pool.outbound.is_own(&server.url);
        server.trace_context.unwrap_or_else(default)
    }
}

impl Attempts<'_> {
    /// The time that is left of the call's own.
    fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }
}

/// The error of a call whose timeout ended before anything was sent.
fn slow() -> CallToolError {
    CallToolError::Inactive(Inactive::unreachable("its authorization took too long"))
}
