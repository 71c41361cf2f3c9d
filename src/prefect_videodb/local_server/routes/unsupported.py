"""What VideoDB does and this server does not: said by name, so that nobody looks for a typing error."""

UNDERSTANDING = "needs a vision or language model, and the local server has none"
GENERATION = "makes media with generative models, and the local server has none"
EDITING = "edits media, and the local server only cuts"
ACCOUNT = "belongs to a VideoDB account, and the local server has none"
UPLOAD = "takes files, and the local server records live streams only"
OTHER = "does not belong to live streams and what they become, and the local server leaves it out"
FRAMES = "extracts frames without describing them; index the scenes instead"

UNSUPPORTED: dict[tuple[str, str], str] = {
    # Live streams
    ("PATCH", "/rtstream/{id}/index/scene/{index}"): OTHER,
    # Capture sessions and meeting bots
    # Collections
    ("PATCH", "/collection/{id}"): OTHER,
    ("DELETE", "/collection/{id}"): OTHER,
    ("POST", "/collection/{id}/search"): OTHER,
    ("POST", "/collection/{id}/search/title"): OTHER,
    ("POST", "/collection/{id}/search/web"): "searches the public web, and the local server is offline",
    ("POST", "/collection/{id}/ask"): UNDERSTANDING,
    ("POST", "/collection/{id}/upload"): UPLOAD,
    ("GET", "/collection/{id}/upload_url"): UPLOAD,
    ("POST", "/collection/{id}/generate/image"): GENERATION,
    ("POST", "/collection/{id}/generate/video"): GENERATION,
    ("POST", "/collection/{id}/generate/audio"): GENERATION,
    ("POST", "/collection/{id}/generate/text"): GENERATION,
    ("POST", "/collection/{id}/generate/video/dub"): GENERATION,
    ("POST", "/collection/{id}/video/{video}/translate"): UNDERSTANDING,
    # Videos
    ("PATCH", "/video/{id}"): OTHER,
    ("DELETE", "/video/{id}/storage"): EDITING,
    ("POST", "/video/{id}/ask"): UNDERSTANDING,
    ("POST", "/video/{id}/understand"): UNDERSTANDING,
    ("GET", "/video/{id}/understand"): UNDERSTANDING,
    ("GET", "/video/{id}/understand/{und}"): UNDERSTANDING,
    ("POST", "/video/{id}/indexes"): UNDERSTANDING,
    ("GET", "/video/{id}/indexes"): UNDERSTANDING,
    ("GET", "/video/{id}/indexes/{index}"): UNDERSTANDING,
    ("DELETE", "/video/{id}/indexes/{index}"): UNDERSTANDING,
    ("GET", "/video/{id}/scenes"): FRAMES,
    ("POST", "/video/{id}/scenes"): FRAMES,
    ("GET", "/video/{id}/scenes/{scenes}"): FRAMES,
    ("PATCH", "/video/{id}/scenes/{scenes}"): FRAMES,
    ("DELETE", "/video/{id}/scenes/{scenes}"): FRAMES,
    ("POST", "/video/{id}/scene/{scene}/describe"): UNDERSTANDING,
    ("POST", "/video/{id}/frame/{frame}/describe"): UNDERSTANDING,
    ("POST", "/video/{id}/index/delete"): OTHER,
    ("POST", "/video/{id}/workflow"): EDITING,
    ("POST", "/video/{id}/reframe"): EDITING,
    ("GET", "/video/{id}/reframe/{reframe}"): EDITING,
    ("PATCH", "/audio/{id}"): OTHER,
    ("POST", "/audio/{id}/generate_url"): OTHER,
    # The rest
    ("GET", "/image"): UPLOAD,
    ("GET", "/image/{id}"): UPLOAD,
    ("PATCH", "/image/{id}"): UPLOAD,
    ("DELETE", "/image/{id}"): UPLOAD,
    ("POST", "/image/{id}/generate_url"): UPLOAD,
    ("GET", "/assets"): OTHER,
    ("POST", "/timeline"): EDITING,
    ("POST", "/timeline_v2"): EDITING,
    ("POST", "/timeline_v2/download"): EDITING,
    ("POST", "/editor"): EDITING,
    ("POST", "/editor/download"): EDITING,
    ("POST", "/transcode"): EDITING,
    ("GET", "/transcode/{job}"): EDITING,
    ("GET", "/download"): OTHER,
    ("DELETE", "/download"): OTHER,
    ("POST", "/download/{id}"): OTHER,
    ("POST", "/chat/completions"): UNDERSTANDING,
    ("GET", "/job/{id}"): GENERATION,
    ("POST", "/sandbox"): ACCOUNT,
    ("GET", "/sandbox"): ACCOUNT,
    ("GET", "/sandbox/{id}"): ACCOUNT,
    ("POST", "/voice_clone"): GENERATION,
    ("GET", "/user"): ACCOUNT,
    ("GET", "/user/api_key"): ACCOUNT,
    ("POST", "/user/api_key"): ACCOUNT,
    ("DELETE", "/user/api_key/{key}"): ACCOUNT,
    ("PUT", "/user/api-key-collections"): ACCOUNT,
    ("POST", "/billing/checkout"): ACCOUNT,
    ("GET", "/billing/checkouts"): ACCOUNT,
    ("GET", "/billing/invoices"): ACCOUNT,
    ("POST", "/billing/topup"): ACCOUNT,
    ("GET", "/billing/auto_recharge"): ACCOUNT,
    ("POST", "/billing/auto_recharge"): ACCOUNT,
}
