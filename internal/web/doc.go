// Package web is the page kit of the console and the portal: layouts, components, forms, error
// pages, security headers and embedded assets. It hides the markup, the style sheet and the
// scripts, so that a page says only what it shows. It knows HTTP and nothing of the directory.
//
// # A page
//
// A page is a struct with what it shows, a templ component beside its handler, and a Handler
// that decodes, calls one domain method, and renders:
//
//	// users.go
//	func (c *Console) user(w http.ResponseWriter, r *http.Request) error {
//		u, err := c.directory.User(r.Context(), actor(r), r.PathValue("id"))
//		if err != nil {
//			return err // problem.NotFound becomes a 404 page
//		}
//		p := c.page(w, r, u.Name) // web.NewPage plus organization, person, search
//		p.Nav = "users"
//		p.Crumbs = []web.Crumb{{Label: "Users", Href: "/console/users"}}
//		p.Badge = web.Badge{Level: web.OK, Label: "active"}
//		p.Actions = web.Button{Label: "Suspend", Icon: "pause", Href: "…/suspend", Opens: "suspend"}
//		return web.Render(w, r, http.StatusOK, userPage(p, u, form))
//	}
//
//	// users.templ
//	templ userPage(p web.Page, u directory.User, form web.Form) {
//		@web.Console(p) {
//			@web.Columns() {
//				@web.Card(web.CardOptions{Title: "Profile"}) {
//					<form method="post" data-dirty>
//						@form.Summary()
//						@web.TextField(form.Field("givenName", "Given name").Must())
//						@web.EmailField(form.Field("email", "E-mail").Must().Hint("Also the NameID at applications."))
//						@web.FormActions() {
//							@web.Button{Label: "Save", Variant: web.Primary}
//						}
//					</form>
//				}
//				@web.Card(web.CardOptions{Title: "Facts"}) {
//					@web.Facts{{Term: "Id", Value: web.Code(u.ID), Copy: u.ID}}
//				}
//			}
//			@web.Dialog(web.DialogOptions{ID: "suspend", Title: "Suspend " + u.Name + "?"}) {
//				@suspendForm(u) // the page at …/suspend shows the same form
//			}
//		}
//	}
//
// # Two kinds of component
//
// What has no content of its own making is a struct: @web.Button{…}, @web.Badge{…},
// @web.Table{…}. It is also a Go value of type templ.Component, so it goes into a cell, an
// Actions field, or web.Group(a, b). What wraps content is a function with children:
// @web.Card(web.CardOptions{…}) { … }. Fields of a form are functions over a Field:
// @web.TextField(f), @web.Select(f, options...), @web.Switch(f).
//
// # Forms
//
// NewForm fills a form from stored values, PostedForm from what was posted; Fail takes the
// field errors of a problem.Error, and Field hands value and error to the input, whose label,
// help and error are wired for screen readers. A form never carries a CSRF token: the server
// refuses cross-origin posts. Answer a good post with SetFlash and Redirect, a bad one with
// Render and Status(err).
//
// # Without script, with htmx
//
// Everything works without script except what is marked so. htmx is there for lists that
// filter while one types (FilterBar.Target), drawers that load when opened (LogEntry.Load),
// choices from long lists (Picker), and parts that refresh themselves (Live).
// Attributes that app.js understands in any markup:
//
//	data-dirty              on a form: warn before leaving with unsaved changes
//	data-submit-on-change   on a form: submit when a list changes
//	data-when="name=a|b"    show this part only while field name has one of the values
//	data-copy="text"        on a button: copy
//	data-dialog="id"        on a link or button: open the dialog
//	data-hotkey="/"         on an input: the key that focuses it
//
// The Content-Security-Policy allows no inline script or style: never write a style or on…
// attribute. Colours and widths that come from data are SVG attributes or a progress element
// (AppLogo, Progress, Trend). Test pages with webtest.Check.
//
// # Words
//
// Say what happened and what to do, in plain words. A state is a Badge (icon and word), never
// a colour alone. A page has one Primary button. What can't be taken back is a ConfirmForm that
// says how many people are touched and what happens to them.
package web
