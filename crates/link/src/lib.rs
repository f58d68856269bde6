//! The cable between two nics as a sans-IO value: rate, delay, queue and impairments from a seed.
