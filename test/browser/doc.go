// Package browser drives the built program with Chromium, as administrators and employees do.
// Its tests need chromium and, for the rules of accessibility, `npm ci --prefix test/browser`.
package browser
