//! What a model's service has rejected lately, so that the next request does not ask in vain.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::Instant;

use crate::{chat::Omitted, project::Project};

/// The time after which a service is asked again whether it takes a member, or media.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// The most models that are remembered; callers choose their names, but only of models that answer.
const MODELS: usize = 1_000;

/// The refusals in a row after which the tools of a default are not offered: one may be an accident, or
/// about the request.
const REFUSALS: u8 = 3;

/// The most media of a refused request that are told from others': those of two rounds and more.
const MEDIA: usize = 64;

/// What services rejected, and answered without, by the path and the model of a request: members,
/// messages that show media of results, and the tools of defaults. What is learned of media is the
/// project's alone: its servers may give bad ones.
///
/// It is shared by all services of a layer. Of names only hashes are kept.
#[derive(Default)]
pub(crate) struct Remembered {
    members: Models<Omitted>,
    /// Whether they take media.
    media: Models<Media>,
    /// How often in a row they refused the tools of a default.
    tools: Models<u8>,
    hashes: RandomState,
}

impl Remembered {
    /// The members to leave out of a request for `model` at `path`.
    pub(crate) fn of(&self, path: &str, model: Option<&str>) -> Omitted {
        let key = || self.hashes.hash_one((path, model));
        self.members.of(key).unwrap_or_default()
    }

    /// Remembers these for an hour, in place of what was remembered.
    pub(crate) fn set(&self, path: &str, model: Option<&str>, omitted: Omitted) {
        let omitted = (!omitted.is_empty()).then_some(omitted);
        self.members
            .set(self.hashes.hash_one((path, model)), omitted);
    }

    /// Returns `true` if messages that show media are left out for this model.
    pub(crate) fn refuses_media(&self, of: Asked<'_>) -> bool {
        matches!(
            self.media.of(|| self.hashes.hash_one(of)),
            Some(Media::Refused)
        )
    }

    /// Remembers for an hour that a service has answered a request with media.
    pub(crate) fn took_media(&self, of: Asked<'_>) {
        let key = self.hashes.hash_one(of);
        self.media.set(key, Some(Media::Taken));
    }

    /// Remembers for an hour that a service has refused a request with these media, by
    /// [`hashes_of`](Self::hashes_of), and answered it without. Returns `true` if it is shown none
    /// from now on: it has refused others before, and taken none since.
    pub(crate) fn refused_media(&self, of: Asked<'_>, media: &Arc<[u64]>) -> bool {
        let key = self.hashes.hash_one(of);
        let refuses = match self.media.of(|| key) {
            None => false,
            Some(Media::RefusedOnce(before)) if media.iter().all(|one| !before.contains(one)) => {
                true
            }
            // The same media may be at fault again.
            Some(_) => return false,
        };
        let seen = match refuses {
            true => Media::Refused,
            false => Media::RefusedOnce(media.clone()),
        };
        self.media.set(key, Some(seen));
        refuses
    }

    /// What tells media from others.
    pub(crate) fn hashes_of<'a>(&self, media: impl Iterator<Item = &'a [u8]>) -> Arc<[u64]> {
        media
            .take(MEDIA)
            .map(|one| self.hashes.hash_one(one))
            .collect()
    }

    /// Returns `true` if `model` at `path` gets no tools of a default.
    pub(crate) fn refuses_tools(&self, path: &str, model: Option<&str>) -> bool {
        let key = || self.hashes.hash_one((path, model));
        self.tools.of(key) >= Some(REFUSALS)
    }

    /// Remembers for an hour that a service has refused a request with the tools of a default, and
    /// answered it without.
    pub(crate) fn refused_tools(&self, path: &str, model: Option<&str>) {
        let key = self.hashes.hash_one((path, model));
        let before = self.tools.of(|| key).unwrap_or_default();
        self.tools.set(key, Some(before.saturating_add(1)));
    }

    /// Forgets the refusals of a service that has answered a request with the tools of a default.
    pub(crate) fn took_tools(&self, path: &str, model: Option<&str>) {
        let key = || self.hashes.hash_one((path, model));
        if self.tools.of(key).is_some() {
            self.tools.set(key(), None);
        }
    }
}

/// Who asks which model, and at which path.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Asked<'a> {
    pub(crate) project: &'a Project,
    pub(crate) path: &'a str,
    pub(crate) model: Option<&'a str>,
}

/// What a service has made of media.
#[derive(Clone)]
enum Media {
    /// It has answered a request with some: what it refuses later is bad in itself.
    Taken,
    /// It has refused these; they may be bad.
    RefusedOnce(Arc<[u64]>),
    /// It has refused two requests that had none in common.
    Refused,
}

/// Something about models, each by a hash of its name and path.
struct Models<T>(RwLock<HashMap<u64, (T, Instant)>>);

impl<T> Default for Models<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: Clone> Models<T> {
    fn of(&self, key: impl FnOnce() -> u64) -> Option<T> {
        let models = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // As nearly always.
        if models.is_empty() {
            return None;
        }
        let found = models.get(&key());
        let found = found.filter(|(_, until)| *until > Instant::now());
        found.map(|(value, _)| value.clone())
    }

    /// Remembers `value` for an hour, or nothing any more.
    fn set(&self, key: u64, value: Option<T>) {
        let mut models = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(value) = value else {
            models.remove(&key);
            return;
        };
        let now = Instant::now();
        if models.len() >= MODELS && !models.contains_key(&key) {
            models.retain(|_, (_, until)| *until > now);
            let oldest = models.iter().min_by_key(|(_, (_, until))| *until);
            let oldest = oldest.map(|(key, _)| *key);
            if let Some(oldest) = oldest.filter(|_| models.len() >= MODELS) {
                models.remove(&oldest);
            }
        }
        models.insert(key, (value, now + KEPT));
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
    async fn media_are_refused_for_an_hour_once_two_requests_with_none_in_common_were() {
        let remembered = Remembered::default();
        let (web, batch) = (Project::new("web"), Project::new("batch"));
        let asked = |project, path| Asked {
            project,
            path,
            model: Some("m"),
        };
        let of = asked(&web, "/a");
        let hashes =
            |media: &[&'static str]| remembered.hashes_of(media.iter().map(|one| one.as_bytes()));
        let refused = |of, media: &[&'static str]| remembered.refused_media(of, &hashes(media));
        assert!(!refused(of, &["bad"]) && !refused(of, &["good", "bad"]));
        assert!(!remembered.refuses_media(of));
        assert!(refused(of, &["good"]) && remembered.refuses_media(of));
        for other in [asked(&batch, "/a"), asked(&web, "/b")] {
            assert!(!remembered.refuses_media(other));
        }
        tokio::time::advance(KEPT).await;
        assert!(!remembered.refuses_media(of));
        remembered.took_media(of);
        assert!(!refused(of, &["one"]) && !refused(of, &["two"]));
        assert!(!remembered.refuses_media(of));
    }

    #[tokio::test(start_paused = true)]
    async fn a_default_is_asked_with_until_it_was_refused_several_times_in_a_row() {
        let remembered = Remembered::default();
        let refuses = || remembered.refuses_tools("/a", Some("m"));
        for _ in 1..REFUSALS {
            remembered.refused_tools("/a", Some("m"));
        }
        assert!(!refuses());
        remembered.took_tools("/a", Some("m"));
        for _ in 0..REFUSALS {
            assert!(!refuses());
            remembered.refused_tools("/a", Some("m"));
        }
        assert!(refuses());
        assert!(!remembered.refuses_tools("/a", Some("n")));
        tokio::time::advance(KEPT).await;
        assert!(!refuses());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room() {
        let remembered = Remembered::default();
        for model in 0..=MODELS {
            tokio::time::advance(Duration::from_millis(1)).await;
            remembered.set("/", Some(&model.to_string()), ONE);
        }
        assert_eq!(remembered.members.0.read().unwrap().len(), MODELS);
        assert!(remembered.of("/", Some("0")).is_empty());
        assert_eq!(remembered.of("/", Some(&MODELS.to_string())), ONE);
    }
}
