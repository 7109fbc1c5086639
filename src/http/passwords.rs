//! Basic authentication (RFC 7617) with hashes of bcrypt. In: the Authorization field of a request. Out: whether it is
//! right. bcrypt is slow on purpose. So it runs on a thread of its own, one password at a time, for a short queue, and
//! its results are remembered. A client with a known right password passes however many wrong ones wait.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use data_encoding::BASE64;
use hyper::header::HeaderValue;
use ring::{digest::SHA256_OUTPUT_LEN, hmac, rand::SystemRandom};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// How many passwords wait for bcrypt; further ones are refused. Fewer than connections, so that some stay free.
pub(super) const MAX_WAITING: usize = 16;
/// How many right passwords, and how many wrong ones, to remember.
const MAX_KNOWN: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// Too many others wait.
    Busy,
}

pub(super) struct Passwords {
    /// Random, for this process only.
    key: hmac::Key,
    known: Arc<Mutex<Known>>,
    waiting: Semaphore,
    turn: Arc<Semaphore>,
}

/// Codes of user, hash and password; none of these is stored itself. Wrong ones, which anybody can send, remove no
/// right ones.
#[derive(Default)]
struct Known {
    right: VecDeque<Code>,
    wrong: VecDeque<Code>,
}

type Code = [u8; SHA256_OUTPUT_LEN];

impl Passwords {
    /// # Errors
    /// If the system gives no random numbers.
    pub(super) fn new() -> Result<Self, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "the system gives no random numbers".to_owned())?;
        let (waiting, turn) = (Semaphore::new(MAX_WAITING), Arc::new(Semaphore::new(1)));
        Ok(Self { key, known: Arc::default(), waiting, turn })
    }

    /// `users` are not empty.
    pub(super) async fn check(&self, users: &BTreeMap<String, String>, field: Option<&HeaderValue>) -> Verdict {
        let Some((user, password)) = field.and_then(credentials) else { return Verdict::Wrong };
        let own = std::str::from_utf8(&user).ok().and_then(|user| users.get(user));
        // An unknown user takes as long as a known one.
        let Some(hash) = own.or_else(|| users.values().next()) else { return Verdict::Wrong };
        // A user may be removed, and the hash may go to another user.
        let is_user = own.is_some();
        let code = self.code(&[&[is_user.into()], &user, hash.as_bytes(), &password]);
        if let Some(verdict) = lock(&self.known).verdict(&code) {
            return verdict;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Verdict::Busy };
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else { return Verdict::Busy };
        // Another connection may have checked the same one in the meantime.
        if let Some(verdict) = lock(&self.known).verdict(&code) {
            return verdict;
        }
        let (known, hash) = (Arc::clone(&self.known), hash.clone());
        let compared = spawn_blocking(move || {
            // Checked and remembered even if the client has gone; it may come back for it.
            let _turn = turn;
            let is_right = bcrypt::verify(password, &hash).unwrap_or(false) && is_user;
            lock(&known).remember(code, is_right);
            if is_right { Verdict::Right } else { Verdict::Wrong }
        });
        compared.await.unwrap_or(Verdict::Wrong)
    }

    fn code(&self, parts: &[&[u8]]) -> Code {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut code = Code::default();
        code.copy_from_slice(context.sign().as_ref());
        code
    }
}

impl Known {
    fn verdict(&self, code: &Code) -> Option<Verdict> {
        if self.right.contains(code) {
            return Some(Verdict::Right);
        }
        self.wrong.contains(code).then_some(Verdict::Wrong)
    }

    fn remember(&mut self, code: Code, is_right: bool) {
        let codes = if is_right { &mut self.right } else { &mut self.wrong };
        codes.truncate(MAX_KNOWN - 1);
        codes.push_front(code);
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// User and password.
fn credentials(field: &HeaderValue) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, encoded) = field.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut user = BASE64.decode(encoded.trim().as_bytes()).ok()?;
    // The RFC allows no control characters. And bcrypt, which repeats a password after a zero byte, takes `a\0a` for
    // `a`.
    if user.iter().any(u8::is_ascii_control) {
        return None;
    }
    let colon = user.iter().position(|&byte| byte == b':')?;
    let password = user.split_off(colon + 1);
    user.pop();
    Some((user, password))
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Poll};

    use super::*;

    fn field(user: &str, password: &str) -> HeaderValue {
        format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes())).parse().unwrap()
    }

    fn users(cost: u32) -> BTreeMap<String, String> {
        BTreeMap::from([("alice".to_owned(), bcrypt::hash("correct:horse", cost).unwrap())])
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn only_the_right_password_of_a_user_is_right() {
        let (passwords, users) = (Passwords::new().unwrap(), users(4));
        let check = |field: &HeaderValue| run(passwords.check(&users, Some(field)));
        for _ in 0..2 {
            assert_eq!(check(&field("alice", "correct:horse")), Verdict::Right);
            assert_eq!(check(&field("alice", "correct")), Verdict::Wrong);
            assert_eq!(check(&field("alice", "")), Verdict::Wrong);
            assert_eq!(check(&field("alice", "correct:horse\0correct:horse")), Verdict::Wrong);
            assert_eq!(check(&field("bob", "correct:horse")), Verdict::Wrong, "what is another's");
            assert_eq!(check(&field("", "correct:horse")), Verdict::Wrong);
        }
        assert_eq!(check(&"bAsIc  YWxpY2U6Y29ycmVjdDpob3JzZQ==".parse().unwrap()), Verdict::Right);
        for wrong in ["", "Basic", "Basic ", "Basic !", "Basic YWxpY2U=", "Bearer YWxpY2U6Y29ycmVjdDpob3JzZQ=="] {
            assert_eq!(check(&wrong.parse().unwrap()), Verdict::Wrong, "{wrong}");
        }
        assert_eq!(run(passwords.check(&users, None)), Verdict::Wrong);
    }

    #[test]
    fn a_hash_that_changed_is_another() {
        let (passwords, field) = (Passwords::new().unwrap(), field("alice", "correct:horse"));
        assert_eq!(run(passwords.check(&users(4), Some(&field))), Verdict::Right);
        let changed = BTreeMap::from([("alice".to_owned(), bcrypt::hash("other", 4).unwrap())]);
        assert_eq!(run(passwords.check(&changed, Some(&field))), Verdict::Wrong);
    }

    #[test]
    fn a_user_who_is_renamed_is_let_in_by_the_new_name_only() {
        let (passwords, before) = (Passwords::new().unwrap(), users(4));
        let after = BTreeMap::from([("bob".to_owned(), before["alice"].clone())]);
        let fields = ["alice", "bob"].map(|user| field(user, "correct:horse"));
        for (users, verdicts) in [
            (&before, [Verdict::Right, Verdict::Wrong]),
            (&after, [Verdict::Wrong, Verdict::Right]),
            (&before, [Verdict::Right, Verdict::Wrong]),
        ] {
            assert_eq!(fields.each_ref().map(|field| run(passwords.check(users, Some(field)))), verdicts);
        }
    }

    #[test]
    fn what_bcrypt_says_is_remembered_though_the_client_has_gone() {
        let passwords = Passwords::new().unwrap();
        let (users, right) = (users(10), field("alice", "correct:horse"));
        run(async {
            let mut check = Box::pin(passwords.check(&users, Some(&right)));
            // Polled once, which is enough to begin.
            let _ = poll_fn(|context| Poll::Ready(check.as_mut().poll(context))).await;
            drop(check);
            let _turn = passwords.turn.acquire().await.unwrap();
        });
        assert_eq!(passwords.known.lock().unwrap().right.len(), 1);
    }

    #[test]
    fn what_is_known_is_bounded_and_wrong_ones_push_out_no_right_ones() {
        let (passwords, users) = (Passwords::new().unwrap(), users(4));
        run(async {
            passwords.check(&users, Some(&field("alice", "correct:horse"))).await;
            for n in 0..MAX_KNOWN + 10 {
                assert_eq!(passwords.check(&users, Some(&field("alice", &n.to_string()))).await, Verdict::Wrong);
            }
        });
        let known = passwords.known.lock().unwrap();
        assert_eq!((known.right.len(), known.wrong.len()), (1, MAX_KNOWN));
    }

    #[test]
    fn the_queue_is_short_and_who_is_known_does_not_stand_in_it() {
        let passwords = Passwords::new().unwrap();
        let (users, right) = (users(10), field("alice", "correct:horse"));
        run(async {
            assert_eq!(passwords.check(&users, Some(&right)).await, Verdict::Right);
            let fields: Vec<_> = (0..MAX_WAITING + 3).map(|n| field("mallory", &n.to_string())).collect();
            let mut waiting: Vec<_> =
                fields.iter().map(|field| Box::pin(passwords.check(&users, Some(field)))).collect();
            // Polled once, so that bcrypt has not run for any of them.
            let verdicts = poll_fn(|context| {
                Poll::Ready(waiting.iter_mut().map(|check| check.as_mut().poll(context)).collect::<Vec<_>>())
            })
            .await;
            assert_eq!(verdicts.iter().filter(|poll| **poll == Poll::Ready(Verdict::Busy)).count(), 3);
            assert_eq!(verdicts.iter().filter(|poll| poll.is_pending()).count(), MAX_WAITING);
            let mut known = pin!(passwords.check(&users, Some(&right)));
            let verdict = poll_fn(|context| Poll::Ready(known.as_mut().poll(context))).await;
            assert_eq!(verdict, Poll::Ready(Verdict::Right));
            // A client that leaves makes room.
            drop(waiting);
            assert_eq!(passwords.check(&users, Some(&field("mallory", "again"))).await, Verdict::Wrong);
        });
    }
}
