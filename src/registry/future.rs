//! The future that every method of a registry or store returns.

use std::pin::Pin;

/// A boxed future, as all methods of registries and stores return it, so that the traits can be
/// used as `Arc<dyn …>`.
///
/// Implement a method with `Box::pin(async move { … })`. The box costs nothing beside a call of a
/// model or a query of a database. It is the same type as `futures::future::BoxFuture`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
