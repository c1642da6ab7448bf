//! Follows a file: checks it for changes, and reads it again after one.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    FileError, entry,
    state::{self, Declared},
};

/// The pause between two checks. A change needs two of them, so it takes effect after about a
/// second. A check is one `stat`, which costs nothing and works on every file system, network
/// mounts included.
const PAUSE: Duration = Duration::from_millis(500);

/// The largest file that is read: thousands of servers, where a few dozen are usual. More is a
/// wrong path, and would be read into memory again at each of its changes.
const LIMIT: u64 = 1024 * 1024;

/// The number of checks, 10 s, after which a guard that has refused is asked again: its answer may
/// change without the file.
const REFUSED: u32 = 20;

/// A check of what a changed file declares, before it takes effect.
pub(in crate::registry) type Guard =
    Box<dyn Fn(Arc<Declared>) -> BoxFuture<'static, Result<(), FileError>> + Send + Sync>;

/// Asks a follower to read its file at once, and is told what came of it.
pub(super) type Asked = oneshot::Sender<Result<(), FileError>>;

/// Keeps a registry's state what its file says.
pub(super) struct Follower<E> {
    path: PathBuf,
    env: E,
    /// The registry's state, which only its clones keep alive: following ends with the last of
    /// them.
    state: Weak<ArcSwap<Declared>>,
    /// The file as it was when it was read last.
    read: Stamp,
    /// The file as it was at the last look.
    seen: Stamp,
    /// The guard has refused it, and is asked again after so many looks.
    refused: Option<u32>,
    /// Its fault has been logged.
    told: bool,
}

impl<E> Follower<E>
where
    E: Fn(&str) -> Option<String> + Send + 'static,
{
    /// Reads the file for the first time.
    pub(super) fn open(path: &Path, env: E) -> Result<(Arc<ArcSwap<Declared>>, Self), FileError> {
        // Before the reading: what changes in between is seen as a change.
        let stamp = Stamp::of(path);
        let read = entry::declared(&text(path)?, &env)?;
        let state = state::after(&Declared::default(), read);
        let state = Arc::new(ArcSwap::from_pointee(state));
        let follower = Self {
            path: path.to_owned(),
            env,
            state: Arc::downgrade(&state),
            read: stamp,
            seen: stamp,
            refused: None,
            told: false,
        };
        Ok((state, follower))
    }

    /// Looks again and again, and whenever it is asked to, until the last clone of the registry is
    /// gone.
    pub(super) async fn run(mut self, guard: Guard, mut asked: mpsc::Receiver<Asked>) {
        loop {
            if let Ok(asked) = timeout(PAUSE, asked.recv()).await {
                let Some(answer) = asked else { return };
                let Some(follower) = self.read_now(&guard, answer).await else {
                    return;
                };
                self = follower;
                continue;
            }
            // A `stat` on a network mount can take its time, so it blocks no worker.
            let look = spawn_blocking(move || {
                let look = self.look();
                (self, look)
            });
            self = match look.await {
                Ok((_, Look::Gone)) => return,
                Ok((mut follower, Look::Read(declared))) => {
                    follower.settle(declared, &guard).await;
                    follower
                }
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

    /// Reads the file whether or not it has changed, as files of secrets may have; a fault is for who
    /// asked. `None` if the runtime is ending.
    async fn read_now(mut self, guard: &Guard, answer: Asked) -> Option<Self> {
        let read = spawn_blocking(move || {
            let stamp = Stamp::of(&self.path);
            let read = text(&self.path).and_then(|text| entry::declared(&text, &self.env));
            (self.read, self.seen, self.refused) = (stamp, stamp, None);
            (self, read)
        });
        let (follower, read) = read.await.ok()?;
        let settled = match (read, follower.state.upgrade()) {
            (Ok(read), Some(state)) => {
                let declared = Arc::new(state::after(&state.load(), read));
                let settled = guard(declared.clone()).await;
                settled.map(|()| state.store(declared))
            }
            (read, _) => read.map(drop),
        };
        // Whoever asked may be gone.
        let _ = answer.send(settled);
        Some(follower)
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
        self.refused = self.refused.map(|looks| looks.saturating_sub(1));
        let is_new = now != self.read;
        if !rests || !(is_new || self.refused == Some(0)) {
            return Look::Unchanged;
        }
        self.read = now;
        self.refused = None;
        self.told &= !is_new;
        match text(&self.path).and_then(|text| entry::declared(&text, &self.env)) {
            Ok(read) => Look::Read(state::after(&state.load(), read)),
            Err(error) => {
                self.tell(&error);
                Look::Faulty
            }
        }
    }

    /// Makes what was read the state, unless the guard refuses it.
    async fn settle(&mut self, declared: Declared, guard: &Guard) {
        let declared = Arc::new(declared);
        if let Err(error) = guard(declared.clone()).await {
            self.refused = Some(REFUSED);
            self.tell(&error);
        } else if let Some(state) = self.state.upgrade() {
            let path = self.path.display();
            let servers = declared.servers.len();
            tracing::info!(%path, servers, "the file of servers was read again");
            state.store(declared);
        }
    }

    /// Logs a fault, once for each change of the file.
    fn tell(&mut self, error: &FileError) {
        let path = self.path.display();
        if !self.told {
            tracing::error!(%path, %error, "the file of servers is at fault; its last good state stays");
        }
        self.told = true;
    }
}

/// The outcome of a check.
enum Look {
    /// Nothing new, or a change that has not come to rest.
    Unchanged,
    /// What the changed file declares.
    Read(Declared),
    /// The changed file is faulty; this is returned once per change.
    Faulty,
    /// The last clone of the registry was dropped.
    Gone,
}

/// The time and length of a file, by which a change shows; `None` if there is no file.
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

    use futures_util::FutureExt;
    use tokio::time::sleep;

    use super::*;
    use crate::{
        name::ServerName,
        registry::{FileRegistry, Server},
    };

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

    fn names(state: &ArcSwap<Declared>) -> Vec<String> {
        state
            .load()
            .servers
            .keys()
            .map(ToString::to_string)
            .collect()
    }

    fn server(state: &ArcSwap<Declared>, name: &str) -> Arc<Server> {
        state.load().servers[name].clone()
    }

    /// One look, and what comes of it.
    fn look<E>(follower: &mut Follower<E>) -> &'static str
    where
        E: Fn(&str) -> Option<String> + Send + 'static,
    {
        look_guarded(follower, |_| Ok(()))
    }

    fn look_guarded<E>(
        follower: &mut Follower<E>,
        guard: impl Fn(Vec<ServerName>) -> Result<(), FileError> + Send + Sync + 'static,
    ) -> &'static str
    where
        E: Fn(&str) -> Option<String> + Send + 'static,
    {
        match follower.look() {
            Look::Unchanged => "unchanged",
            Look::Faulty => "faulty",
            Look::Gone => "gone",
            Look::Read(declared) => {
                let guard: Guard = Box::new(move |declared| {
                    let names = declared.servers.keys().cloned().collect();
                    Box::pin(std::future::ready(guard(names)))
                });
                follower.settle(declared, &guard).now_or_never().unwrap();
                match follower.refused {
                    Some(_) => "refused",
                    None => "reloaded",
                }
            }
        }
    }

    #[test]
    fn a_change_counts_once_the_file_has_come_to_rest() {
        let file = Temporary::new(&entry("a", ""));
        let (state, mut follower) = Follower::open(&file.0, no_env).unwrap();
        assert_eq!(look(&mut follower), "unchanged");

        // Half of a file, which is a whole one of fewer servers.
        file.write(entry("b", ""));
        assert_eq!(look(&mut follower), "unchanged");
        file.write(entry("b", "") + &entry("c", ""));
        assert_eq!(look(&mut follower), "unchanged");
        assert_eq!(names(&state), ["a"]);

        assert_eq!(look(&mut follower), "reloaded");
        assert_eq!(names(&state), ["b", "c"]);
        assert_eq!(look(&mut follower), "unchanged");
    }

    #[test]
    fn a_server_keeps_its_identity_and_an_unchanged_one_its_record() {
        let file = Temporary::new(&(entry("a", "") + &entry("b", "")));
        let (state, mut follower) = Follower::open(&file.0, no_env).unwrap();
        let (a, b) = (server(&state, "a"), server(&state, "b"));

        file.write(entry("b", "") + &entry("a", "enabled = false"));
        look(&mut follower);
        assert_eq!(look(&mut follower), "reloaded");

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
            look(&mut follower);
            assert_eq!(look(&mut follower), "faulty");
            assert_eq!(look(&mut follower), "unchanged");
        }
        fs::remove_file(&file.0).unwrap();
        look(&mut follower);
        assert_eq!(look(&mut follower), "faulty");
        assert_eq!(look(&mut follower), "unchanged");
        assert!(Arc::ptr_eq(&server(&state, "a"), &a));

        file.write(entry("a", "") + "# mended");
        look(&mut follower);
        assert_eq!(look(&mut follower), "reloaded");
        assert!(Arc::ptr_eq(&server(&state, "a"), &a));
    }

    #[test]
    fn what_the_guard_refuses_is_not_in_force_until_it_agrees() {
        let file = Temporary::new(&entry("a", ""));
        let (state, mut follower) = Follower::open(&file.0, no_env).unwrap();
        let refuse = |names: Vec<ServerName>| {
            assert_eq!(names.len(), 2);
            let name = "b".parse().unwrap();
            Err(FileError::Taken { name })
        };
        file.write(entry("a", "enabled = false") + &entry("b", ""));
        look(&mut follower);
        assert_eq!(look_guarded(&mut follower, refuse), "refused");
        assert!(follower.told);
        // Asked again from time to time, and otherwise left alone.
        for _ in 0..2 {
            for _ in 1..REFUSED {
                assert_eq!(look_guarded(&mut follower, refuse), "unchanged");
            }
            assert_eq!(look_guarded(&mut follower, refuse), "refused");
        }
        assert_eq!(names(&state), ["a"]);
        assert!(server(&state, "a").enabled);

        for _ in 1..REFUSED {
            look(&mut follower);
        }
        assert_eq!(look(&mut follower), "reloaded");
        assert_eq!(names(&state), ["a", "b"]);
        for _ in 0..2 * REFUSED {
            assert_eq!(look(&mut follower), "unchanged");
        }
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
        look(&mut follower);
        assert_eq!(look(&mut follower), "reloaded");
        let a = server(&state, "a");
        assert_eq!(
            (&a.auth.headers()["x-key"], a.version),
            (&"two".parse().unwrap(), 2)
        );

        *key.lock().unwrap() = None;
        file.write(keyed + "##");
        look(&mut follower);
        assert_eq!(look(&mut follower), "faulty");
    }

    #[cfg(unix)]
    #[test]
    fn files_of_secrets_are_read_again_at_each_reload() {
        use std::os::unix::fs::PermissionsExt;

        let secret = Temporary::new("one");
        let mode = |mode| fs::set_permissions(&secret.0, PermissionsExt::from_mode(mode)).unwrap();
        mode(0o600);
        let path = secret.0.display();
        let keyed = entry(
            "a",
            &format!(
                "auth = {{ type = \"static_headers\", headers = [{{ name = \"x-key\", value_file = \"{path}\" }}] }}"
            ),
        );
        let file = Temporary::new(&keyed);
        let (state, mut follower) = Follower::open(&file.0, no_env).unwrap();

        secret.write("two\n");
        file.write(keyed.clone() + "#");
        look(&mut follower);
        assert_eq!(look(&mut follower), "reloaded");
        let a = server(&state, "a");
        assert_eq!(
            (&a.auth.headers()["x-key"], a.version),
            (&"two".parse().unwrap(), 2)
        );

        mode(0o644);
        file.write(keyed + "##");
        look(&mut follower);
        assert_eq!(look(&mut follower), "faulty");
        assert_eq!(server(&state, "a").auth.headers()["x-key"], "two");
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

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_that_did_not_change_is_read_again_for_who_asks() {
        use std::os::unix::fs::PermissionsExt;

        let secret = Temporary::new("one");
        fs::set_permissions(&secret.0, PermissionsExt::from_mode(0o600)).unwrap();
        let file = Temporary::new(&entry(
            "a",
            &format!(
                "auth = {{ type = \"static_headers\", headers = [{{ name = \"x-key\", value_file = {:?} }}] }}",
                secret.0
            ),
        ));
        let registry = FileRegistry::open(&file.0).unwrap();
        let key = || registry.servers()[0].auth.headers()["x-key"].clone();
        assert_eq!(key(), "one");
        secret.write("two");
        registry.reload().await.unwrap();
        assert_eq!(key(), "two");

        // A fault is for who asked, and changes nothing.
        fs::remove_file(&secret.0).unwrap();
        assert!(registry.reload().await.is_err());
        assert_eq!(key(), "two");
        let parsed = FileRegistry::parse(&entry("a", ""), no_env).unwrap();
        parsed.reload().await.unwrap();
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
