//! Follows a file: looks at it, and reads it again after a change.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    FileError, entry,
    state::{self, Servers},
};

/// Between two looks. A change needs two of them, so it counts after about a second; a look is
/// one `stat`, which costs nothing and works on every file system, network mounts too.
const PAUSE: Duration = Duration::from_millis(500);

/// The largest file that is read: thousands of servers, where a few dozen are usual. More is a
/// wrong path, and would be read into memory again at each of its changes.
const LIMIT: u64 = 1024 * 1024;

/// Keeps a registry's state what its file says.
pub(super) struct Follower<E> {
    path: PathBuf,
    env: E,
    /// Weak: the registry's clones keep the state, and following ends with the last of them.
    state: Weak<ArcSwap<Servers>>,
    /// The file as it was when it was read last.
    read: Stamp,
    /// The file as it was at the last look.
    seen: Stamp,
}

impl<E> Follower<E>
where
    E: Fn(&str) -> Option<String> + Send + 'static,
{
    /// Reads the file for the first time.
    pub(super) fn open(path: &Path, env: E) -> Result<(Arc<ArcSwap<Servers>>, Self), FileError> {
        // Before the reading: what changes in between is seen as a change.
        let stamp = Stamp::of(path);
        let read = entry::servers(&text(path)?, &env)?;
        let state = Arc::new(ArcSwap::from_pointee(state::after(&Servers::new(), read)));
        let follower = Self {
            path: path.to_owned(),
            env,
            state: Arc::downgrade(&state),
            read: stamp,
            seen: stamp,
        };
        Ok((state, follower))
    }

    /// Looks again and again, until the last clone of the registry is gone.
    pub(super) async fn run(mut self) {
        loop {
            sleep(PAUSE).await;
            // A `stat` on a network mount can take its time, so it blocks no worker.
            let look = spawn_blocking(move || {
                let look = self.look();
                (self, look)
            });
            self = match look.await {
                Ok((_, Look::Gone)) => return,
                Ok((follower, _)) => follower,
                Err(error) => {
                    // Otherwise the runtime is ending.
                    if error.is_panic() {
                        tracing::error!(
                            "a look at the file of servers panicked; it is no longer followed"
                        );
                    }
                    return;
                }
            };
        }
    }

    /// Looks at the file once, and reads it if it has changed and come to rest.
    fn look(&mut self) -> Look {
        let Some(state) = self.state.upgrade() else {
            return Look::Gone;
        };
        let now = Stamp::of(&self.path);
        // A file that still changes is being written; half of it may well be valid TOML.
        let rests = now == self.seen;
        self.seen = now;
        if !rests || now == self.read {
            return Look::Unchanged;
        }
        self.read = now;
        let path = self.path.display();
        match text(&self.path).and_then(|text| entry::servers(&text, &self.env)) {
            Ok(read) => {
                let servers = state::after(&state.load(), read);
                tracing::info!(%path, servers = servers.len(), "the file of servers was read again");
                state.store(Arc::new(servers));
                Look::Reloaded
            }
            Err(error) => {
                tracing::error!(%path, %error, "the file of servers is at fault; its last good state stays");
                Look::Faulty
            }
        }
    }
}

/// What a look came to.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// Nothing new, or nothing at rest yet.
    Unchanged,
    /// The state is that of the changed file.
    Reloaded,
    /// The changed file is at fault; this is said once.
    Faulty,
    /// Nobody has the registry any more.
    Gone,
}

/// What tells one state of a file from the next: time and length; `None` where there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(Option<(SystemTime, u64)>);

impl Stamp {
    fn of(path: &Path) -> Self {
        // Follows symbolic links: a mounted configuration is often exchanged behind one.
        let stamp = fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len())));
        Self(stamp.ok())
    }
}

/// The file's text.
fn text(path: &Path) -> Result<String, FileError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes));
    read.map_err(|source| FileError::Read { source })?;
    if bytes.len() as u64 > LIMIT {
        return Err(FileError::TooLarge { limit: LIMIT });
    }
    String::from_utf8(bytes).map_err(|error| FileError::Read {
        // The position only: the error itself holds the whole text.
        source: io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        env, process,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use tokio::time::timeout;

    use super::*;
    use crate::registry::{FileRegistry, Server};

    /// A file that is gone with its test.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(text: &str) -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("mcp-layer-file-{}-{count}.toml", process::id());
            let file = Self(env::temp_dir().join(name));
            file.write(text);
            file
        }

        fn write(&self, text: impl AsRef<[u8]>) {
            fs::write(&self.0, text).unwrap();
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn entry(name: &str, rest: &str) -> String {
        format!("[[servers]]\nname = \"{name}\"\nurl = \"https://a.example/mcp\"\n{rest}\n")
    }

    fn no_env(_: &str) -> Option<String> {
        None
    }

    fn names(state: &ArcSwap<Servers>) -> Vec<String> {
        state.load().keys().map(ToString::to_string).collect()
    }

    fn server(state: &ArcSwap<Servers>, name: &str) -> Arc<Server> {
        state.load()[name].clone()
    }

    #[test]
    fn a_change_counts_once_the_file_has_come_to_rest() {
        let file = Temporary::new(&entry("a", ""));
        let (state, mut follower) = Follower::open(&file.0, no_env).unwrap();
        assert_eq!(follower.look(), Look::Unchanged);

        // Half of a file, which is a whole one of fewer servers.
        file.write(entry("b", ""));
        assert_eq!(follower.look(), Look::Unchanged);
        file.write(entry("b", "") + &entry("c", ""));
        assert_eq!(follower.look(), Look::Unchanged);
        assert_eq!(names(&state), ["a"]);

        assert_eq!(follower.look(), Look::Reloaded);
        assert_eq!(names(&state), ["b", "c"]);
        assert_eq!(follower.look(), Look::Unchanged);
    }

    #[test]
    fn a_server_keeps_its_identity_and_an_unchanged_one_its_record() {
        let file = Temporary::new(&(entry("a", "") + &entry("b", "")));
        let (state, mut follower) = Follower::open(&file.0, no_env).unwrap();
        let (a, b) = (server(&state, "a"), server(&state, "b"));

        file.write(entry("b", "") + &entry("a", "enabled = false"));
        follower.look();
        assert_eq!(follower.look(), Look::Reloaded);

        let changed = server(&state, "a");
        assert_eq!(
            (&changed.id, changed.version, changed.enabled),
            (&a.id, 2, false)
        );
        assert!(Arc::ptr_eq(&server(&state, "b"), &b));
    }

    #[test]
    fn the_last_good_state_stays_and_a_fault_is_reported_once() {
        let file = Temporary::new(&entry("a", ""));
        let (state, mut follower) = Follower::open(&file.0, no_env).unwrap();
        let a = server(&state, "a");

        for text in ["[[servers", "[[servers]]\nname = \"b\""] {
            file.write(text);
            follower.look();
            assert_eq!(follower.look(), Look::Faulty);
            assert_eq!(follower.look(), Look::Unchanged);
        }
        fs::remove_file(&file.0).unwrap();
        follower.look();
        assert_eq!(follower.look(), Look::Faulty);
        assert_eq!(follower.look(), Look::Unchanged);
        assert!(Arc::ptr_eq(&server(&state, "a"), &a));

        file.write(entry("a", "") + "# mended");
        follower.look();
        assert_eq!(follower.look(), Look::Reloaded);
        assert!(Arc::ptr_eq(&server(&state, "a"), &a));
    }

    #[test]
    fn the_environment_is_read_again_at_each_reload() {
        let keyed = entry(
            "a",
            "auth = { type = \"static_headers\", headers = [{ name = \"x-key\", value_env = \"KEY\" }] }",
        );
        let file = Temporary::new(&keyed);
        let key = Arc::new(Mutex::new(Some("one".to_owned())));
        let env = {
            let key = key.clone();
            move |_: &str| key.lock().unwrap().clone()
        };
        let (state, mut follower) = Follower::open(&file.0, env).unwrap();

        *key.lock().unwrap() = Some("two".into());
        file.write(keyed.clone() + "#");
        follower.look();
        assert_eq!(follower.look(), Look::Reloaded);
        let a = server(&state, "a");
        assert_eq!(
            (&a.auth.headers()["x-key"], a.version),
            (&"two".parse().unwrap(), 2)
        );

        *key.lock().unwrap() = None;
        file.write(keyed + "##");
        follower.look();
        assert_eq!(follower.look(), Look::Faulty);
    }

    #[test]
    fn a_file_that_is_absent_too_large_or_not_text_is_an_error() {
        let absent = text(Path::new("absent.toml")).unwrap_err();
        assert!(
            absent.to_string().starts_with("cannot be read: "),
            "{absent}"
        );

        let file = Temporary::new(&"#".repeat(LIMIT as usize));
        assert!(text(&file.0).is_ok());
        file.write("#".repeat(LIMIT as usize + 1));
        let large = text(&file.0).unwrap_err();
        assert_eq!(large.to_string(), "larger than 1048576 bytes");

        file.write(b"# s3cret \xff");
        let binary = text(&file.0).unwrap_err();
        let shown = format!("{binary} {binary:?}");
        assert!(
            shown.contains("utf-8") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    // Time moves on by itself while nothing but sleeps is left, and stands while a file is read.
    #[tokio::test(start_paused = true)]
    async fn an_open_registry_follows_its_file_until_its_last_clone_is_gone() {
        let file = Temporary::new(&entry("a", ""));
        let registry = FileRegistry::open(&file.0).unwrap();
        let clone = registry.clone();
        drop(registry);

        file.write(entry("a", "") + &entry("b", ""));
        let followed = async {
            while clone.servers().len() < 2 {
                sleep(PAUSE).await;
            }
        };
        timeout(PAUSE * 5, followed).await.unwrap();

        let tasks = || {
            tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks()
        };
        assert_eq!(tasks(), 1);
        drop(clone);
        let ended = async {
            while tasks() > 0 {
                sleep(PAUSE).await;
            }
        };
        timeout(PAUSE * 5, ended).await.unwrap();
    }
}
