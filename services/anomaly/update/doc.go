// Package update judges rollouts: do the devices with the new firmware fail more than those without, at any moment, with
// a bounded chance to be wrong however often it is asked?
//
// Arms is the part of a shard. It follows each rollout's devices and tells, for each tick in which something changed, how
// many were at risk and how many failed for the first time, treated and control, in each stratum (devices of one site and
// model): of those that began their update, and of all that were drawn for the stage. At a stage's end it tells what the
// health metrics came to. Rollouts is the judge's part: it adds up the shards' arms and keeps a likelihood of each odds ratio on a fixed
// grid. From that come the e-values of fail and pass, the interval and, with the installs and the health metrics, the
// verdict. The design of a rollout is in its first event and never changes.
//
// What keeps the answer valid:
//   - Of the draw, a device of either arm is at risk from the tick after the stage's start, if it is not silent then, or
//     after the first thing that it says: what becomes of its update plays no part. So one that is never heard again once
//     it was offered the update is missed.
//   - Of those that began, a treated device is at risk from the tick in which it begins its update; a control from the tick
//     after the first thing that it says once the stage has begun. In each, only a device's first failure counts.
//   - Health is what metrics come to over the stage, of both arms over the same time, compared by the order of the numbers.
//   - A silence counts when it is recognised, by one rule and at one clock for both arms. None is recognised while our own
//     side was away, nor for the time that a cohort sleeps by plan.
//   - The control of a stage is everybody who is not offered the firmware in it: the control group, and later stages.
//   - What comes late is counted, and changes no tick that was judged.
//   - Where whole sites are treated, a site is one unit, whatever the number of its devices.
//   - A postponed update is no failure, and no beginning. One that failed, was rolled back, or succeeded on paper only counts
//     against the share of installs that may fail.
//
// It rolls nothing back: it says what it sees.
package update
