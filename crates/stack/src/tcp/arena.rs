//! Values under indices with generations: an index is used again, together with another generation.

pub(crate) struct Arena<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Arena<T> {
    pub fn new() -> Arena<T> {
        Arena { entries: Vec::new(), free: Vec::new() }
    }

    /// Puts in what `make` makes of its index and generation.
    pub fn insert_with(&mut self, make: impl FnOnce(u32, u32) -> T) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push((0, None));
            (self.entries.len() - 1) as u32
        });
        if let Some(entry) = self.entries.get_mut(index as usize) {
            entry.1 = Some(make(index, entry.0));
        }
        index
    }

    pub fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.1.as_ref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.1.as_mut()
    }

    /// The value, if it is of this generation.
    pub fn get_exact(&self, index: u32, generation: u32) -> Option<&T> {
        self.entries.get(index as usize).filter(|e| e.0 == generation)?.1.as_ref()
    }

    pub fn get_exact_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize).filter(|e| e.0 == generation)?.1.as_mut()
    }

    pub fn remove(&mut self, index: u32) -> Option<T> {
        let entry = self.entries.get_mut(index as usize)?;
        let value = entry.1.take()?;
        entry.0 = entry.0.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    /// The indices that have a value or had one.
    pub fn indices(&self) -> core::ops::Range<u32> {
        0..self.entries.len() as u32
    }

    /// Values in the arena.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}
