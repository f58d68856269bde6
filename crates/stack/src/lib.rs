//! A sans-IO TCP/IP stack: a host is a plain value driven by packets, time and socket calls.
