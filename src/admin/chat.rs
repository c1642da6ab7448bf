//! Chats that operators try: requests of their own to the gateway, through the layer.

use std::{fmt, sync::Arc};

use axum::{BoxError, body::Body};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::Full;
use tower::{Service, ServiceExt};

use crate::{
    project::Project,
    trace::{RecordedAs, TraceId},
};

/// The path that a chat asks for: the one that the layer looks at by default.
const PATH: &str = "/v1/chat/completions";

/// What answers an answer.
type Answering = BoxFuture<'static, Result<Response<Body>, BoxError>>;

/// Answers the chats that operators try: the [layer](crate::McpLayer) around the model's service, as
/// callers meet it, for [`Admin::with_chat`](super::Admin::with_chat). Clones share the service.
///
/// The operator's side knows nothing of it but that it answers requests.
///
/// ```
/// # use axum::body::Body;
/// # use http::{Request, Response};
/// use mcp_layer::{McpLayer, RequestBody, admin::Chat, registry::MemoryRegistry};
/// use tower::Layer;
/// # let model = tower::service_fn(|_: Request<RequestBody<Body>>| async {
/// #     Ok::<_, std::io::Error>(Response::new(Body::empty()))
/// # });
///
/// let layer = McpLayer::new(MemoryRegistry::default());
/// let chat = Chat::new(layer.layer(model));
/// ```
#[derive(Clone)]
pub struct Chat(Arc<dyn Fn(Request<Full<Bytes>>) -> Answering + Send + Sync>);

impl Chat {
    /// Has `service` answer. A request has a [`Project`] in its extensions, and no `Authorization`: the
    /// service brings the model's key.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(move |request| {
            let service = service.clone();
            Box::pin(async move {
                let answer = service
                    .oneshot(request.map(Body::new))
                    .await
                    .map_err(Into::into)?;
                Ok(answer.map(Body::new))
            })
        }))
    }

    /// Asks for the chat completion `body`, for `project`; the layer records it under `id`.
    ///
    /// # Cancellation
    /// As when a caller hangs up.
    pub(super) async fn ask(
        &self,
        project: Project,
        body: Bytes,
        id: TraceId,
    ) -> Result<Response<Body>, BoxError> {
        let request = Request::post(PATH)
            .header(CONTENT_TYPE, "application/json")
            .extension(project)
            .extension(RecordedAs(id))
            .body(Full::new(body))?;
        (self.0)(request).await
    }
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").finish_non_exhaustive()
    }
}
