// All texts that the page shows. {name} stands for a value.

const WORDS = {
  title: "latent",
  title_search: "Hits – latent",
  title_space: "Space – latent",
  title_map: "Map – latent",
  skip: "Skip to the pictures",
  views: "Views",
  search: "Search",
  space: "Space",
  map: "Map",
  help: "Keyboard and help",
  close: "Close",
  retry: "Try again",
  about_index: "{pictures} pictures · {model}",

  pick: "Choose a picture",
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
  copy_name: "Copy name",
  copied: "Copied: {name}",
  copy_failed: "The browser did not let the page copy. The name is {name}",
  to_a: "Use as A",
  to_b: "Use as B",
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

  map_loading: "Asking for the map …",
  map_making: "The map is being made",
  map_reading: "Making the map: {done} of {total} pictures read …",
  map_placing: "Making the map: placing the pictures …",
  map_grouping: "Making the map: finding clusters …",
  map_describing: "Making the map: almost done …",
  map_too_few: "A map needs three pictures.",
  map_all: "{count} pictures, similar ones near each other",
  map_part: "{count} of {total} pictures, drawn at random, similar ones near each other",
  map_stage: "Map of the pictures. Its clusters are listed after it.",
  map_hint: "Drag to move, wheel or two fingers to zoom, click a point to open its picture. Shift and drag to lasso. With the keyboard: arrows, + and −, Home, Enter to open, v to list what is in view.",
  map_nothing_here: "No picture in the middle",
  colour_by: "Colour by",
  by_cluster: "Cluster",
  by_taken: "Date",
  by_folder: "Folder",
  by_novelty: "Novelty",
  map_lasso: "Lasso",
  map_view_list: "List what is in view",
  map_clear: "Clear the list",
  prototypes: "Prototypes on the map",
  clusters: "Clusters",
  cluster: "{number}: {count} pictures",
  cluster_short: "cluster {number}",
  cluster_words: "Cluster {number}, {count} pictures, the most typical {name}: show it and list its pictures",
  novelty_short: "more novel than {share}",
  legend: "What the colours mean",
  legend_folder: "{name} ({count})",
  top_folder: "(top folder)",
  other_folders: "{count} other folders",
  not_known: "not known",
  zoom_in: "Zoom in",
  zoom_out: "Zoom out",
  zoom_whole: "Show the whole map",
  list_title: "List of {count} pictures",
  list_one: "List of 1 picture",
  list_cluster: "Cluster {number}: {count} pictures",
  list_said: "{title}, below the map",
  list_none: "There is no picture in it",
  map_fit: "Show them on the map",
  save_paths: "Save paths as text",
  save_ids: "Save ids as text",

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
  ["c", "In the large view: copy the name"],
  ["a  b", "In the large view: use it as A or B of the space"],
  ["Esc", "Close, or leave the words"],
  ["+  −  Home", "On the map: zoom in, zoom out, the whole"],
  ["Enter", "On the map: open the picture in the middle"],
  ["v  l", "On the map: list what is in view, draw a lasso"],
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
