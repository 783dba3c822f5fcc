// Sends the form of a page that only carries it to another site.
"use strict";
document.querySelector("form[data-autosubmit]").submit();
