// Package plan is what is settled of a scenario before its first instant: who there is and when, whom each fault befalls, who is
// taken by which stage of a rollout, when a site is without power, what a version does to whom, when our own side does not
// take part. In: a scenario and a seed. Out: a Plan, and the part of the truth that is no single device's own.
//
// It is drawn in advance so that lives can be played in any order: what one device does changes nothing for another. What becomes of a
// device from there on is package world's.
package plan
