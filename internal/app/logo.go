package app

import (
	"bytes"
	"image"
	_ "image/gif"  // registers GIF
	_ "image/jpeg" // registers JPEG
	_ "image/png"  // registers PNG

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// MaxLogo is the largest logo in bytes.
const MaxLogo = 256 << 10

// maxLogoSide bounds width and height, so that nobody's browser unpacks a gigantic picture.
const maxLogoSide = 4096

// logoType returns the media type of a picture by its content.
func logoType(picture []byte) (string, error) {
	if len(picture) > MaxLogo {
		return "", problem.InvalidField("logo", "The logo has more than %d KB. Make it smaller, for example 256 × 256 pixels.", MaxLogo>>10)
	}
	if isWebP(picture) {
		return "image/webp", nil
	}
	c, format, err := image.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		return "", problem.InvalidField("logo", "The logo must be a PNG, JPEG, WebP or GIF picture. (SVG isn't taken, because it can carry scripts.)")
	}
	if c.Width < 1 || c.Height < 1 || c.Width > maxLogoSide || c.Height > maxLogoSide {
		return "", problem.InvalidField("logo", "The logo is %d × %d pixels; at most %d on a side are possible.", c.Width, c.Height, maxLogoSide)
	}
	return "image/" + format, nil
}

// isWebP looks for a RIFF container with a WebP picture (RFC 9649 §2.4).
func isWebP(b []byte) bool {
	return len(b) >= 20 && string(b[:4]) == "RIFF" && string(b[8:12]) == "WEBP" && string(b[12:15]) == "VP8"
}
