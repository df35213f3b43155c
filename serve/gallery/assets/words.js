// All texts that the page shows. {name} stands for a value.

const WORDS = {
  title: "latent",
  title_search: "Hits – latent",
  title_space: "Space – latent",
  skip: "Skip to the pictures",
  views: "Views",
  search: "Search",
  space: "Space",
  help: "Keyboard and help",
  close: "Close",
  retry: "Try again",
  about_index: "{pictures} pictures · {model}",

  pick: "Choose a picture",
  take: "Take a picture",
  text: "Words in name, title or keywords",
  go: "Search",
  drop_hint: "Drop a picture anywhere, paste one, or click one of the collection.",
  drop_here: "Drop the picture to find what looks like it",
  asked_picture: "Asked",
  asked_uploaded: "the picture that you gave",
  asked_indexed: "the picture {name}",
  asked_code: "A painted code",
  asked_about_id: "What looks like {name}",
  asked_about_code: "What looks like this painting",
  asked_about_upload: "What looks like the picture that you gave",
  asked_novel: "This picture is unlike {share} of the collection: the hits may be poor.",
  forget: "Forget the picture",

  filters: "Filters and settings",
  filters_on: "({count} set)",
  from: "Taken from",
  to: "Taken until",
  folder: "Folder",
  folder_example: "Trips/2024",
  place: "Near a place",
  place_example: "48.2,16.4,5km",
  place_wrong: "A place is latitude, longitude and distance: 48.2,16.4,5km",
  least: "At least, megapixels",
  metric: "Metric",
  metric_euclidean: "Euclidean",
  metric_cosine: "Cosine",
  k: "Pictures at a time",
  where: "Filter",
  where_example: "width >= 2000 and not rating < 3",
  where_column: "Column {column}: {message}",
  collapse: "One of each group of copies",
  clear: "Clear the filters",

  marks_like: "More like",
  marks_unlike: "Less like",
  unmark: "Forget the mark on {name}",
  picture_number: "picture {id}",

  loading: "Searching …",
  reading: "Reading the picture …",
  newest: "{count} pictures, newest first",
  newest_one: "1 picture",
  hits: "{count} hits, nearest first",
  hits_so_far: "The {count} nearest pictures",
  hits_one: "1 hit",
  none: "Nothing passes. Loosen the filters or the words.",
  none_indexed: "The index holds no pictures yet. Fill it with: latent index build FOLDER",
  more: "Show more",
  end: "These are all.",
  similarity: "similarity {value}",
  copies: "+{count}",
  copies_said: "{count} copies",
  gone: "The file is gone",
  ask_tile: "Search by {name}",

  ask_this: "Search by this",
  like: "More like this",
  unlike: "Less like this",
  seen: "What the index sees",
  seen_of: "What the index sees of {name}, painted from its code",
  difference: "Difference to the query",
  difference_of: "Where the painting of {name} differs from that of the query",
  copy_path: "Copy path",
  copied: "Copied: {path}",
  copy_failed: "The browser did not let the page copy. The path is {path}",
  reveal: "Open folder",
  revealed: "The folder is opened.",
  no_screen: "The folder could not be opened: the server found no file manager.",
  to_a: "Use as A",
  to_b: "Use as B",
  to_plus: "Add to the sum",
  to_minus: "Subtract",
  previous: "Previous picture",
  next: "Next picture",
  position: "{position} of {count}",

  between: "Between two pictures",
  slot_empty: "Choose {slot}",
  slot_filled: "{slot}: {name}. Choose another.",
  share: "From A to B",
  between_need: "Choose two pictures to paint what lies between them.",
  between_at: "Painted: {share} of the way from A to B",
  painting_now: "Painting …",
  search_painted: "Search by this painting",
  sample_round: "Sample round it",
  swap: "Swap A and B",
  sum: "Sums and directions",
  plus: "Added",
  minus: "Subtracted",
  add_plus: "Add a picture",
  add_minus: "Subtract a picture",
  sum_need: "Add a picture to paint the sum.",
  sum_at: "The sum, painted",
  sum_forget: "Take {name} out",
  sum_clear: "Clear the sum",
  shelf: "Pictures to drop in",
  shelf_add: "Add {name}, or drag it",
  shelf_subtract: "Subtract {name}",
  ways_none: "No directions yet. Teach one: add pictures with something, subtract pictures without it.",
  way_accuracy: "right for {share} of pictures that it was not learnt from",
  way_forget: "Forget the direction {name}",
  teach: "Teach",
  teach_name: "Name of a direction",
  teach_hint: "It leads from the subtracted pictures to the added ones, and is stored in the index.",
  taught: "{name}: learnt from {having} with and {lacking} without; right for {share} of those left out in turn.",
  taught_few: "{name}: learnt from {having} with and {lacking} without; too few to measure.",
  wall: "A wall of samples",
  wall_new: "New wall",
  wall_again: "Others round it",
  wall_hint: "Each picture is painted from a code; none exists. Click one to see others round it.",
  wall_state: "{count} painted samples",
  wall_state_near: "{count} samples round the chosen one",
  spread: "Distance",
  chosen: "Chosen",
  tile_painted: "Sample {number}",
  no_generator: "The model of this index cannot paint, so there is no space to walk through.",
  picker: "Choose a picture",

  trouble_gone: "The server does not answer. Is latent serve still running?",
  trouble_locked: "This page is locked. Open the address that latent serve printed.",
  trouble_busy: "The server is busy. Try again in a moment.",
  trouble_other: "That did not work: {message}",
  too_large: "That picture has {size}; 32 MB is the most.",
  not_a_picture: "That is no picture.",
  unreadable: "That file could not be read as a picture.",

  yes: "yes",
  no: "no",
  fact_similarity: "Similarity",
  fact_distance: "Distance",
  fact_rank: "Rank",
  fact_copies: "Copies",
  fact_folder: "Folder",
  fact_size: "Size",
  fact_taken: "Taken",
  fact_realism: "Realism",
  fact_novelty: "More novel than",
  fact_place: "Place",
  fact_status: "Status",
  fact_format: "Format",
  fact_mode: "Mode",
  fact_frames: "Frames",
  fact_bits: "Bits",
  fact_has_alpha: "Transparency",
  fact_camera: "Camera",
  fact_lens: "Lens",
  fact_focal_mm: "Focal length",
  fact_exposure_s: "Exposure",
  fact_iso: "ISO",
  fact_rating: "Rating",
  fact_title: "Title",
  fact_keywords: "Keywords",
  fact_burst: "Burst",
  fact_is_raw: "Raw",
  fact_is_screenshot: "Screenshot",
  fact_is_motion: "Motion",
  fact_has_gain_map: "Gain map",
};

// Keys and what they do, as the help lists them.
export const KEYS = [
  ["/", "To the words"],
  ["?", "This help"],
  ["← ↑ → ↓", "From picture to picture; in the large view, the previous and the next one"],
  ["Enter", "Open the picture; in the large view, search by it"],
  ["Space", "Open the picture, and close it again"],
  ["s", "Search by the picture"],
  ["+  −", "In the large view: more like this, less like this"],
  ["c  o", "In the large view: copy the path, open the folder"],
  ["a  b", "In the large view: use it as A or B of the space"],
  ["Esc", "Close, or leave the words"],
];

export function say(key, values = {}) {
  return WORDS[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

export function has(key) {
  return Object.hasOwn(WORDS, key);
}

// Give the elements under a root their texts.
export function fill(root) {
  for (const one of root.querySelectorAll("[data-word]")) one.textContent = say(one.dataset.word);
  for (const one of root.querySelectorAll("[data-label]")) {
    one.setAttribute("aria-label", say(one.dataset.label));
    if (one.tagName === "BUTTON") one.title = say(one.dataset.label);
  }
  for (const one of root.querySelectorAll("[data-placeholder]")) one.placeholder = say(one.dataset.placeholder);
}

const whole = new Intl.NumberFormat("en");
export const count = (number) => whole.format(number);
export const percent = (share) => `${(100 * share).toFixed(share > 0.99 && share < 1 ? 1 : 0)}%`;

export function bytes(number) {
  const unit = number >= 1e9 ? ["GB", 1e9] : number >= 1e6 ? ["MB", 1e6] : number >= 1e3 ? ["kB", 1e3] : ["bytes", 1];
  return `${(number / unit[1]).toFixed(unit[1] > 1 ? 1 : 0)} ${unit[0]}`;
}

export function exposure(seconds) {
  return seconds > 0 && seconds < 0.3 ? `1/${Math.round(1 / seconds)} s` : `${Number(seconds.toPrecision(3))} s`;
}
