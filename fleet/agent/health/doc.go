// Package health is what a device says of itself: that it lives and how it fares (Vitals), why it started (Begin), what
// crashed (Crashes) and what its operating system complains of (Complaints). It makes events of proto/event and sends none.
//
// All of it is read from files: /proc, /sys, /sys/fs/pstore, a directory that programs drop crash reports into, and
// /dev/kmsg or a log. Each read is bounded, and so is what becomes of it: an artifact has at most 16 KiB, a complaint at
// most 1,024 bytes; complaints that are alike but for their numbers are counted rather than repeated, and in an hour there
// are at most 30. What cannot be read on this machine is left out.
//
// A crash report's file is removed when its event is kept, not before: a power cut in between makes the report come twice,
// and its sha256 shows that.
package health
