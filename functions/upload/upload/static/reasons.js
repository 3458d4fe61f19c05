// @ts-check
import { bytes } from "./words.js";

/** For a person: what a failure's reason means, and what to do. A reason that is new here is told
 * in the record's own words. */

const AGAIN = "Try again; if that does not help, tell whoever runs this service.";
const SMALLER = "Make it smaller and upload it again.";

/** @type {Record<string, [string, string]>} reason → [what happened, what to do] */
export const REASONS = {
  source_gone: ["The file was deleted or replaced before it was processed.", "Upload it again."],
  file_too_large: ["The file is larger than what is processed here.", SMALLER],
  too_many_pixels: ["The picture has more pixels than are processed here.", SMALLER],
  too_many_frames: [
    "The animation has more frames than are processed here.",
    "Shorten it and upload it again.",
  ],
  image_too_large_for_memory: ["The picture needs more memory than there is.", SMALLER],
  corrupt_image: [
    "The picture is damaged and cannot be opened.",
    "Check that it opens on your device, save it anew, and upload that.",
  ],
  truncated_image: [
    "The picture ends too early: a part of it is missing.",
    "Get a complete copy and upload that.",
  ],
  unsupported_image: [
    "The picture is of a rare form that is not drawn here.",
    "Save it as a JPEG or PNG and upload that.",
  ],
  corrupt_document: [
    "The document is damaged and cannot be opened.",
    "Check that it opens on your device, save it anew, and upload that.",
  ],
  corrupt_media: [
    "The video or sound cannot be read.",
    "Check that it plays on your device, save it anew, and upload that.",
  ],
  rendition_too_slow: [
    "The video is too long to be converted here.",
    "Upload a shorter one, or one of a smaller size.",
  ],
  rendition_too_large: [
    "The video becomes too large when it is converted.",
    "Save it as an MP4 and upload that.",
  ],
  corrupt_table: [
    "The table cannot be read.",
    "Check that each line has as many fields as the first, and upload it anew.",
  ],
  too_many_columns: [
    "The table has too many columns.",
    "Upload it in parts of fewer columns.",
  ],
  corrupt_encoding: [
    "The file claims to be compressed with gzip, and is not.",
    "Upload it as it is, uncompressed.",
  ],
  decoder_crashed: [
    "The file is damaged in a way that broke its processing.",
    "Check that it opens on your device, save it anew, and upload that.",
  ],
  decoder_timed_out: ["Reading the file took longer than it may.", SMALLER],
  out_of_memory: ["The file needs more memory than there is.", SMALLER],
  process_after_invalid: [
    "The time at which to process it cannot be followed.",
    "Upload it again.",
  ],
  type_mismatch: [
    "The content is not of the kind that the file's name says.",
    "Check that you chose the right file.",
  ],
  attempts_exhausted: ["The file could not be processed in several tries.", AGAIN],
  storage_unavailable: ["The storage did not answer for too long.", AGAIN],
  source_unreadable: ["The file could not be read back from the storage.", AGAIN],
  download_corrupted: ["The file did not arrive intact for processing.", AGAIN],
  deadline_exceeded: [
    "Processing took longer than it may.",
    "Try again, or upload a smaller file.",
  ],
  no_room: ["There was no room to process the file in time.", "Try again in a few minutes."],
  internal_error: ["Something went wrong while the file was processed.", AGAIN],
};

/** After processing, where files have to be approved. @type {Record<string, [string, string]>} */
const APPROVALS = {
  not_approved: [
    "It was looked at, and will not be published.",
    "Whoever runs this service can tell you why.",
  ],
  approval_expired: [
    "Nobody decided about it in time, so it is not published.",
    "Try again, and somebody is asked anew.",
  ],
};

/** Before processing, by the browser or the portal. @type {Record<string, [string, string]>} */
export const REFUSALS = {
  signed_out: ["You are no longer signed in.", "Sign in again, then resume."],
  unreadable: ["The file was changed, moved or deleted meanwhile.", "Choose it again."],
  413: ["The file is too large.", ""],
  415: ["This kind of file is not taken here.", ""],
};

/**
 * @param {import("./uploader.js").UploadError} error
 * @returns {string} sentences
 */
export function explained({ reason, detail, status, limit }) {
  if (status === 413 && limit) return `The file is larger than ${bytes(limit)}, the most that is taken here.`;
  const [says, todo] = REASONS[reason] ?? APPROVALS[reason] ?? REFUSALS[reason] ?? REFUSALS[status ?? 0] ?? ["", ""];
  return [says, todo || (reason === "refused" || !says ? detail : "")].filter(Boolean).join(" ");
}
