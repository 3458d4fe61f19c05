"""Why a file has failed: the processor's reasons, each with what it means.

They are stable and documented in docs/reasons.md: records, alerts and redrive rest on them.
"""

PERMANENT = {  # trying again cannot help
    "source_gone": "the object's generation exists no more",
    "file_too_large": "more bytes than MAX_FILE_BYTES, stored, decompressed or unpacked",
    "too_many_pixels": "the header declares more pixels than MAX_PIXELS",
    "too_many_frames": "an animation or document of more frames than are counted",
    "image_too_large_for_memory": "decoding takes more memory than an instance has",
    "out_of_memory": "decoding took more memory than an instance has",
    "decoder_crashed": "the decoder crashed over the file",
    "decoder_timed_out": "decoding took more CPU time than a file is given",
    "corrupt_image": "the decoder refuses the image",
    "truncated_image": "the image ends too early",
    "unsupported_image": "a valid image, of a form that is not drawn here",
    "corrupt_document": "the document cannot be opened",
    "corrupt_media": "the video or sound cannot be read",
    "rendition_too_slow": "making the renditions takes more time than a file has",
    "rendition_too_large": "a rendition has more bytes than it may have",
    "corrupt_table": "the table cannot be read as what it is declared as",
    "too_many_columns": "a table of more columns than are described",
    "corrupt_encoding": "stored as gzip, but the content is not",
    "process_after_invalid": "its own time to be processed at cannot be followed",
    "type_mismatch": "declared as a kind that is processed, but the content is none",
}
RETRYABLE = {  # a redrive may help
    "attempts_exhausted": "every attempt was started and none left a record",
    "storage_unavailable": "Cloud Storage refused or did not answer",
    "source_unreadable": "Cloud Storage answers 400, 410 or 412 to each read of the object",
    "download_corrupted": "the bytes read do not match the object's checksum",
    "deadline_exceeded": "the work did not end in its time",
    "no_room": "no memory became free in time",
    "internal_error": "an error in the processor itself",
}
REASONS = PERMANENT | RETRYABLE
