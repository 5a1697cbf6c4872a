//! What is to be said and has not been; bounded, whatever is put in.

use std::collections::VecDeque;

use crate::{ObjectId, Resource, Word};

/// How many notes wait at most; of more the oldest is dropped. An operator reads the first few.
const MAX_NOTES: usize = 256;

/// How many notes are remembered as said. What falls out may be said again, and is then found to exist.
const MAX_SAID: usize = 1024;

/// [`Word::Present`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) up: bool,
    pub(crate) message: String,
}

/// [`Word::Note`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) resource: Resource,
    pub(crate) id: ObjectId,
    pub(crate) uid: Option<String>,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Note {
    /// Whether the other is of the same object and reason.
    fn replaces(&self, other: &Self) -> bool {
        self.resource == other.resource && self.id == other.id && self.reason == other.reason
    }
}

/// The words that wait.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// The newest, whether said or not.
    pub(crate) present: Option<Present>,
    notes: VecDeque<Note>,
    /// Those last said, oldest first.
    said: VecDeque<Note>,
    /// How many notes were dropped for want of room.
    dropped: u64,
}

impl Words {
    pub(crate) fn put(&mut self, word: Word) {
        match word {
            Word::Present { up, message } => self.present = Some(Present { up, message }),
            Word::Note { resource, id, uid, reason, message } => {
                self.put_note(Note { resource, id, uid, reason, message });
            }
        }
    }

    fn put_note(&mut self, note: Note) {
        self.notes.retain(|other| !note.replaces(other));
        if self.said.contains(&note) {
            return;
        }
        if self.notes.len() == MAX_NOTES {
            self.notes.pop_front();
            self.dropped += 1;
            if self.dropped.is_power_of_two() {
                tracing::warn!(dropped = self.dropped, "more notes on objects than can be said");
            }
        }
        self.notes.push_back(note);
    }

    /// The note that has waited longest.
    pub(crate) fn note(&self) -> Option<&Note> {
        self.notes.front()
    }

    /// `note` cannot be said at present: the others go first.
    pub(crate) fn postpone(&mut self, note: &Note) {
        if let Some(at) = self.notes.iter().position(|other| other == note)
            && let Some(note) = self.notes.remove(at)
        {
            self.notes.push_back(note);
        }
    }

    /// `note` is said, or never can be.
    pub(crate) fn done(&mut self, note: &Note) {
        self.notes.retain(|other| other != note);
        self.said.retain(|other| !note.replaces(other));
        if self.said.len() == MAX_SAID {
            self.said.pop_front();
        }
        self.said.push_back(note.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &str, message: &str) -> Word {
        Word::Note {
            resource: Resource::NetworkPolicies,
            id: ObjectId { namespace: "shop".to_owned(), name: name.to_owned() },
            uid: None,
            reason: "PolicyNotEnforced",
            message: message.to_owned(),
        }
    }

    #[test]
    fn the_newest_note_of_an_object_replaces_the_one_that_waits() {
        let mut words = Words::default();
        words.put(note("a", "old"));
        words.put(note("b", "other"));
        words.put(note("a", "new"));
        let waiting: Vec<&str> = words.notes.iter().map(|note| note.message.as_str()).collect();
        assert_eq!(waiting, ["other", "new"]);
    }

    #[test]
    fn what_is_said_is_not_said_again_until_it_changes() {
        let mut words = Words::default();
        words.put(note("a", "x"));
        let said = words.note().cloned().unwrap();
        words.done(&said);
        words.put(note("a", "x"));
        assert_eq!(words.note(), None);
        words.put(note("a", "y"));
        assert_eq!(words.note().unwrap().message, "y");
        // And back again, before that was said.
        words.put(note("a", "x"));
        assert_eq!(words.note(), None);
    }

    #[test]
    fn a_note_that_cannot_be_said_lets_others_go_first() {
        let mut words = Words::default();
        words.put(note("a", "x"));
        words.put(note("b", "x"));
        let first = words.note().cloned().unwrap();
        words.postpone(&first);
        assert_eq!(words.note().unwrap().id.name, "b");
        assert_eq!(words.notes.len(), 2);
    }

    #[test]
    fn notes_are_bounded() {
        let mut words = Words::default();
        for i in 0..3 * MAX_SAID {
            words.put(note(&i.to_string(), "x"));
            assert!(words.notes.len() <= MAX_NOTES);
        }
        assert_eq!(words.dropped, (3 * MAX_SAID - MAX_NOTES) as u64);
        while let Some(note) = words.note().cloned() {
            words.done(&note);
        }
        for i in 0..3 * MAX_SAID {
            words.put(note(&i.to_string(), "y"));
            let said = words.note().cloned().unwrap();
            words.done(&said);
            assert!(words.said.len() <= MAX_SAID);
        }
    }
}
