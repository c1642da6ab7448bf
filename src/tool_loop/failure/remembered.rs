//! What a model's service has rejected lately, so that the next request does not ask in vain.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{PoisonError, RwLock},
    time::Duration,
};

use tokio::time::Instant;

use crate::chat::Omitted;

/// The time after which a service is asked again whether it takes a member.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// The most models that are remembered; callers choose their names, but only of models that answer.
const MODELS: usize = 1_000;

/// The members that services rejected, and answered without, by the path and the model of a request.
///
/// It is shared by all services of a layer. Of names only hashes are kept.
#[derive(Default)]
pub(crate) struct Remembered {
    models: RwLock<HashMap<u64, (Omitted, Instant)>>,
    hashes: RandomState,
}

impl Remembered {
    /// The members to leave out of a request for `model` at `path`.
    pub(crate) fn of(&self, path: &str, model: Option<&str>) -> Omitted {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        // As nearly always.
        if models.is_empty() {
            return Omitted::default();
        }
        let found = models.get(&self.hashes.hash_one((path, model)));
        let found = found.filter(|(_, until)| *until > Instant::now());
        found.map_or_else(Omitted::default, |(omitted, _)| *omitted)
    }

    /// Remembers these for an hour, in place of what was remembered.
    pub(crate) fn set(&self, path: &str, model: Option<&str>, omitted: Omitted) {
        let key = self.hashes.hash_one((path, model));
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if omitted.is_empty() {
            models.remove(&key);
            return;
        }
        let now = Instant::now();
        if models.len() >= MODELS && !models.contains_key(&key) {
            models.retain(|_, (_, until)| *until > now);
            let oldest = models.iter().min_by_key(|(_, (_, until))| *until);
            let oldest = oldest.map(|(key, _)| *key);
            if let Some(oldest) = oldest.filter(|_| models.len() >= MODELS) {
                models.remove(&oldest);
            }
        }
        models.insert(key, (omitted, now + KEPT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Omitted = Omitted::TOOL_CHOICE;

    #[tokio::test(start_paused = true)]
    async fn a_rejection_is_remembered_for_its_path_and_model_for_an_hour() {
        let remembered = Remembered::default();
        remembered.set("/a", Some("m"), ONE);
        assert_eq!(remembered.of("/a", Some("m")), ONE);
        for (path, model) in [("/a", Some("n")), ("/a", None), ("/b", Some("m"))] {
            assert!(remembered.of(path, model).is_empty());
        }
        tokio::time::advance(KEPT).await;
        assert!(remembered.of("/a", Some("m")).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room() {
        let remembered = Remembered::default();
        for model in 0..=MODELS {
            tokio::time::advance(Duration::from_millis(1)).await;
            remembered.set("/", Some(&model.to_string()), ONE);
        }
        assert_eq!(remembered.models.read().unwrap().len(), MODELS);
        assert!(remembered.of("/", Some("0")).is_empty());
        assert_eq!(remembered.of("/", Some(&MODELS.to_string())), ONE);
    }
}
