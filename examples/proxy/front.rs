//! The way of a caller's request, from the outside to the inside.

use std::{sync::Arc, time::Duration};

use http::{Method, Request, Version};
use hyper::body::Incoming;
use mcp_layer::{McpService, admin::ClientAddress};
use tower::Service;
use tracing::Span;

use crate::{
    answer::{self, Answer, AnswerBody},
    auth::Door,
    browser::Rules,
    caller_body::CallerBody,
    cors,
    counts::Counts,
    incoming::App,
    otlp,
    paths::Paths,
    places::Trusted,
    ready::Ready,
    request_id::RequestId,
    routes::{self, HEALTH, READY, SERVERS, Servers},
    server::{self, Draining},
    upstream::Upstream,
    watch::Watch,
};

/// The provider's paths, as spans name them.
const MODEL: &str = "/v1/{*rest}";

/// All that requests of callers meet; the same for all, so that none of it is made or copied for
/// one.
pub struct Front {
    pub rules: Rules,
    pub draining: Draining,
    pub ready: Ready,
    /// The load balancers that are believed what they tell of callers.
    pub trusted: Trusted,
    pub counts: Counts,
    pub door: Door,
    pub servers: Servers,
    pub paths: Paths,
    pub model: McpService<Upstream>,
    /// The longest silence of a caller within a body.
    pub body_idle: Duration,
    /// `true` if a collector gets spans.
    pub exports: bool,
}

impl Front {
    pub fn app(self) -> App {
        let front = Arc::new(self);
        Arc::new(move |request, from| {
            let front = front.clone();
            // The only box of a request on its way to the layer: the type of this future has no
            // name.
            Box::pin(async move { Ok(front.answer(request, from).await) })
        })
    }

    async fn answer(&self, mut request: Request<Incoming>, from: ClientAddress) -> Answer {
        let is_head = request.method() == Method::HEAD;
        let is_misused = routes::is_misused(&request);
        let id = RequestId::of(request.headers_mut());
        // Pages of other origins are refused first, so that they reach nothing at all.
        let mut answer = match self.rules.refusal(&request) {
            Some(refusal) => {
                let mut refused = Answer::from(refusal);
                id.mark(&mut refused);
                refused
            }
            None => self.readable(request, from, &id).await,
        };
        if is_misused {
            routes::allow_get(&mut answer);
        }
        answer::complete(answer, is_head)
    }

    /// Lets pages of allowed origins read the answers, including refusals of a key.
    async fn readable(
        &self,
        request: Request<Incoming>,
        from: ClientAddress,
        id: &RequestId,
    ) -> Answer {
        let origins = &self.rules.origins;
        let allowed = (!origins.is_empty()).then(|| cors::Allowed::of(request.headers(), origins));
        let mut answer = match request.method() {
            &Method::OPTIONS if allowed.is_some() => cors::preflight(request.headers()),
            _ => self.routed(request, from, id).await,
        };
        // Pages may read it.
        id.mark(&mut answer);
        if let Some(allowed) = allowed {
            allowed.mark(&mut answer);
        }
        answer
    }

    /// Answers what is the proxy's own, and watches the rest.
    async fn routed(
        &self,
        request: Request<Incoming>,
        from: ClientAddress,
        id: &RequestId,
    ) -> Answer {
        let route = match request.uri().path() {
            HEALTH => return routes::health(request.method(), routes::healthz()),
            READY => return routes::health(request.method(), self.ready.answer().await),
            SERVERS => SERVERS,
            path if is_models(path) => MODEL,
            _ => return routes::not_found().into(),
        };
        let exported = match self.exports {
            true => otlp::span(&request, route),
            false => Span::none(),
        };
        let from = ClientAddress(self.trusted.caller(request.headers(), from.0));
        let watch = Watch::new(&request, from, id, exported).counted(self.counts.request());
        watch.over(self.served(request, from, route)).await
    }

    async fn served(
        &self,
        mut request: Request<Incoming>,
        from: ClientAddress,
        route: &str,
    ) -> Answer {
        // No new requests once the proxy is stopping.
        if self.draining.has_begun() {
            return server::turned_away(request).await.into();
        }
        // Both the model and the list of servers need the project.
        let caller = match self.door.admit(&mut request) {
            Ok(caller) => caller,
            Err(why) => return self.door.refuse(why, from),
        };
        if route == SERVERS {
            return self.servers.answer(&caller, &mut request).await;
        }
        if let Some(refusal) = self.paths.refusal(&request) {
            return refusal.into();
        }
        caller.mark(&mut request);
        // Callers may speak HTTP/2, which is nothing to whatever is inside.
        *request.version_mut() = Version::HTTP_11;
        // A caller that falls silent in the middle of a body does not hold a connection.
        let request = request.map(|body| CallerBody::new(body, self.body_idle));
        // The tools. Directly around the upstream, so that everything outside sees one request, and
        // anything inside, such as a rate limit, would see every turn.
        let Ok(answer) = self.model.clone().call(request).await;
        answer.map(AnswerBody::model)
    }
}

fn is_models(path: &str) -> bool {
    path.strip_prefix("/v1/")
        .is_some_and(|rest| !rest.is_empty())
}
