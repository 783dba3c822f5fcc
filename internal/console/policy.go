package console

import "time"

// Policy is the sign-in policy in force, as set in the configuration.
type Policy struct {
	// Idle and Absolute end a session: unused, and after sign-in.
	Idle, Absolute time.Duration
	// Account and Network are how many failures pass before sign-in slows down: for one name
	// from one place in an hour, and from one network in a quarter of an hour.
	Account, Network int
}
