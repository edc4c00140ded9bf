//! The writer's answers on their way back to a thread that has many callers: a whole group's are handed over
//! together and wake it once. One by one they would wake it again and again, and each waking is a call into
//! the kernel for the writer, on whose time everybody waits. Knows neither jobs nor what they answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Where a thread's answers are left.
pub(super) struct Answers<T>(Arc<Waiting<T>>);

struct Waiting<T> {
    /// `None` once nobody gives them any more: what waited here would keep alive what it holds, and with it
    /// the writer that it came from.
    settled: Mutex<Option<Vec<T>>>,
    wake: Notify,
}

impl<T> Waiting<T> {
    fn settled(&self) -> MutexGuard<'_, Option<Vec<T>>> {
        // What a panic left behind are answers all the same.
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves answers here; where nobody would give them they come back.
    fn leave(&self, answers: Vec<T>) -> Vec<T> {
        match &mut *self.settled() {
            None => return answers,
            Some(settled) => settled.extend(answers),
        }
        self.wake.notify_one();
        Vec::new()
    }
}

impl<T> Clone for Answers<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The thread's end of [`Answers`]; when it is gone, nothing is left there any more.
pub(super) struct Giver<T>(Arc<Waiting<T>>);

/// The two ends.
pub(super) fn answers<T>() -> (Answers<T>, Giver<T>) {
    let waiting = Arc::new(Waiting {
        settled: Mutex::new(Some(Vec::new())),
        wake: Notify::new(),
    });
    (Answers(Arc::clone(&waiting)), Giver(waiting))
}

impl<T> Giver<T> {
    /// Gives what is left here, for as long as it is polled: to be spawned on the thread of the callers.
    pub(super) async fn give(self, answer: impl Fn(T)) {
        loop {
            self.0.wake.notified().await;
            let settled = self.0.settled().as_mut().map(std::mem::take);
            settled.into_iter().flatten().for_each(&answer);
        }
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        let left = self.0.settled().take();
        // Behind the lock, since with the last of what is here all of it may go.
        drop(left);
    }
}

/// A group's answers, sorted by the threads that give them.
pub(super) struct Sorted<T>(Vec<(Answers<T>, Vec<T>)>);

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Sorted<T> {
    /// Keeps an answer for the thread that gives it, as `of` says; one that is of no thread comes back.
    pub(super) fn keep(&mut self, answer: T, of: impl Fn(&T) -> Option<&Answers<T>>) -> Option<T> {
        let Some(answers) = of(&answer) else {
            return Some(answer);
        };
        let is_same = |(known, _): &&mut (Answers<T>, _)| Arc::ptr_eq(&known.0, &answers.0);
        match self.0.iter_mut().find(is_same) {
            Some((_, kept)) => kept.push(answer),
            None => self.0.push((answers.clone(), vec![answer])),
        }
        None
    }

    /// Hands all that was kept to its threads, and wakes each; what nobody would give comes back.
    pub(super) fn leave(self) -> Vec<T> {
        let threads = self.0.into_iter();
        threads
            .flat_map(|(thread, answers)| thread.0.leave(answers))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::cell::RefCell;

    /// An answer that knows its thread, as jobs do.
    struct Said {
        word: Arc<i32>,
        by: Option<Answers<Said>>,
    }

    fn leave(said: Vec<Said>) -> (Vec<i32>, usize) {
        let mut sorted = Sorted::default();
        let keep = |said| sorted.keep(said, |said: &Said| said.by.as_ref());
        let others = said.into_iter().filter_map(keep).map(|said| *said.word);
        (others.collect(), sorted.leave().len())
    }

    #[test]
    fn what_is_left_together_is_given_together_by_its_own_thread() {
        let (one, giving_one) = answers();
        let (two, giving_two) = answers();
        let given = RefCell::new(Vec::new());
        let give = |said: Said| given.borrow_mut().push(*said.word);
        let mut giving_one = std::pin::pin!(giving_one.give(give));
        assert!(giving_one.as_mut().now_or_never().is_none());
        let said = |n| Said {
            word: Arc::new(n),
            by: match n % 3 {
                0 => None,
                1 => Some(one.clone()),
                _ => Some(two.clone()),
            },
        };
        assert_eq!(leave((1..8).map(said).collect()), (vec![3, 6], 0));
        assert!(given.borrow().is_empty());
        assert!(giving_one.as_mut().now_or_never().is_none());
        assert_eq!(*given.borrow(), [1, 4, 7]);
        assert!(giving_two.give(give).now_or_never().is_none());
        assert_eq!(*given.borrow(), [1, 4, 7, 2, 5]);
    }

    #[test]
    fn what_nobody_gives_is_kept_by_nobody() {
        let (answers, giver) = answers();
        let word = Arc::new(1);
        let said = || Said {
            word: Arc::clone(&word),
            by: Some(answers.clone()),
        };
        assert_eq!(leave(vec![said()]), (vec![], 0));
        assert_eq!(Arc::strong_count(&word), 2);
        drop(giver.give(drop));
        assert_eq!(Arc::strong_count(&word), 1);
        assert_eq!(leave(vec![said()]), (vec![], 1));
        assert_eq!(Arc::strong_count(&word), 1);
    }
}
