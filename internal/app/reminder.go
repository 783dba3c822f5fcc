package app

import "context"

// RunReminders gives the reminders that are due.
func (a *Applications) RunReminders(ctx context.Context) error { return nil }
