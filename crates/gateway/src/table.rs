//! A table whose tokens tell an entry from a later one in the same place, so that an event about a descriptor that was
//! closed in the same turn finds nothing.

use slab::Slab;

/// Which part of the gateway a descriptor's events go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Part {
    Tcp,
    Udp,
    Icmp,
    Dns,
    Publish,
}

impl Part {
    /// The part that a token names.
    pub fn of(token: u64) -> Option<Part> {
        [Part::Tcp, Part::Udp, Part::Icmp, Part::Dns, Part::Publish]
            .into_iter()
            .find(|&part| u64::from(part as u8) == token >> 56)
    }
}

/// Entries by token: the part (8 bits), a generation (24) and the place in the table (32).
pub(crate) struct Table<T> {
    part: Part,
    generation: u32,
    entries: Slab<(u64, T)>,
}

impl<T> Table<T> {
    pub fn new(part: Part) -> Self {
        Table { part, generation: 0, entries: Slab::new() }
    }

    /// Adds an entry, made by `make` from its token.
    pub fn insert(&mut self, entry: T) -> u64 {
        self.generation = (self.generation + 1) & 0xff_ffff;
        let place = self.entries.vacant_entry();
        let token =
            u64::from(self.part as u8) << 56 | u64::from(self.generation) << 32 | (place.key() as u64 & 0xffff_ffff);
        place.insert((token, entry));
        token
    }

    pub fn get_mut(&mut self, token: u64) -> Option<&mut T> {
        self.entries.get_mut(place(token)).filter(|(own, _)| *own == token).map(|(_, entry)| entry)
    }

    pub fn get(&self, token: u64) -> Option<&T> {
        self.entries.get(place(token)).filter(|(own, _)| *own == token).map(|(_, entry)| entry)
    }

    pub fn remove(&mut self, token: u64) -> Option<T> {
        self.get(token)?;
        self.entries.try_remove(place(token)).map(|(_, entry)| entry)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.entries.iter().map(|(_, (token, entry))| (*token, entry))
    }
}

fn place(token: u64) -> usize {
    (token & 0xffff_ffff) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_outlives_its_entry_harmlessly() {
        let mut table = Table::new(Part::Udp);
        let first = table.insert('a');
        assert_eq!(table.remove(first), Some('a'));
        let second = table.insert('b');
        assert_eq!(place(first), place(second));
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get_mut(second), Some(&mut 'b'));
        assert_eq!(Part::of(second), Some(Part::Udp));
        assert_eq!(Part::of(u64::MAX), None);
    }
}
