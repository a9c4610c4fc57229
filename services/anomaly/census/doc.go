// Package census is the fold of the registry's log as one shard of the detector needs it: which devices of its
// partition there are, in which cohort and region, at which interval they mean to report, and when silence is planned.
// Devices of other shards are remembered by their cohort and interval only, four bytes each: from them comes what all
// shards must agree on, the interval of each cohort.
//
// It is a pure function of the records. A record that is no link of the chain is ignored and counted; a link that says
// what cannot be is followed, and what it says ignored. It is for one goroutine.
//
// It is no roster: certificates, profiles, rights and groups are not here (platform/roster has them).
package census
