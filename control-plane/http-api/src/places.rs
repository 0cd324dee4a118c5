//! How many connections each address has open.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections of each address, bounded. Addresses without one are not kept.
pub(crate) struct Places {
    max: Option<u32>,
    taken: Mutex<BTreeMap<IpAddr, u32>>,
}

/// One connection; given back when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// At most that many per address; without a number, any.
    pub(crate) fn new(max: Option<u32>) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default() })
    }

    /// A place for one more connection of that address; none when it has as many as it may.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        // One machine that comes by both families through the same socket is one address.
        let address = address.to_canonical();
        let mut taken = self.lock();
        let count = taken.get(&address).copied().unwrap_or(0);
        if self.max.is_some_and(|max| count >= max) {
            return None;
        }
        taken.insert(address, count + 1);
        Some(Place { places: Arc::clone(self), address })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        match taken.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_places_and_gets_them_back() {
        let places = Places::new(Some(2));
        let [a, mapped, b] = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let first = places.take(a).unwrap();
        let second = places.take(mapped).unwrap();
        assert!(places.take(a).is_none());
        let other = places.take(b).unwrap();
        drop(first);
        let third = places.take(a).unwrap();
        assert!(places.take(mapped).is_none());
        drop((second, other, third));
        assert!(places.lock().is_empty());
        let open = Places::new(None);
        let held: Vec<_> = (0..500).map(|_| open.take(a)).collect();
        assert!(held.iter().all(Option::is_some));
    }
}
