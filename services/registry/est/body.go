package est

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"net/http"

	"muster.dev/services/registry/authority"
)

// maxBody bounds a request's body: an honest one of RSA 4096 has 2.3 KB in base64.
const maxBody = 16 << 10

const wantBody = "Send the PKCS #10 request in DER as base64, with Content-Type: application/pkcs10."

// read takes the certificate request from the body. Content-Transfer-Encoding counts for nothing (RFC 8951 section 3.2).
func read(w http.ResponseWriter, r *http.Request) (*authority.Request, error) {
	if kind := r.Header.Get("Content-Type"); kind != "" {
		switch mediaType, _, err := mime.ParseMediaType(kind); {
		case err != nil:
			return nil, refuse(http.StatusUnsupportedMediaType, wantBody, "Content-Type %.80q does not parse", kind)
		case mediaType != "application/pkcs10" && mediaType != "application/x-pkcs10" && mediaType != "application/octet-stream":
			return nil, refuse(http.StatusUnsupportedMediaType, wantBody, "Content-Type %.80q is not application/pkcs10", mediaType)
		}
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil, refuse(http.StatusUnsupportedMediaType, wantBody, "Content-Encoding %.40q is not taken", coding)
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	der, err := decode(data)
	if err != nil {
		return nil, err
	}
	return authority.ParseRequestDER(der)
}

// decode takes base64 with or without line breaks and blanks.
func decode(body []byte) ([]byte, error) {
	if bytes.Contains(body, []byte("-----BEGIN")) {
		return nil, refuse(http.StatusBadRequest, wantBody, "the body is PEM: leave out the lines that begin with -----")
	}
	body = bytes.Map(func(c rune) rune {
		if c == ' ' || c == '\t' || c == '\r' || c == '\n' {
			return -1
		}
		return c
	}, body)
	if len(body) == 0 {
		return nil, refuse(http.StatusBadRequest, wantBody, "the body is empty")
	}
	der := make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	n, err := base64.StdEncoding.Decode(der, body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, wantBody, "the body is not base64: %.80s", err)
	}
	return der[:n], nil
}
