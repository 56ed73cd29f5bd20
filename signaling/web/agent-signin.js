// The development sign-in: a name, a kind of device, a group; the address carries them, so that a link signs in too.

import { deviceId, identifier } from "./identity.js";
import { $, h, show } from "./dom.js";

/** @typedef {{sub: string, name: string, kind: string, group: string, did: string, platform: string, deviceName: string}} Identity */

const PLATFORMS = /** @type {Record<string, string>} */ ({ desktop: "desktop", iphone: "ios", ios: "ios", android: "android" });

/** @param {URLSearchParams} query @returns {Identity} */
function identity(query) {
  const name = query.get("name")?.trim() || query.get("sub") || "";
  const sub = identifier(query.get("sub") || name.toLowerCase()) || "agent";
  const kind = (query.get("device") || "desktop").toLowerCase();
  const deviceName = kind === "desktop" ? "Desktop" : `${name || "Agent"}’s ${kind}`;
  return {
    sub, name: name || "Agent", kind, group: query.get("group") || "default",
    did: deviceId(sub, sub, kind, localStorage), platform: PLATFORMS[kind] ?? "web", deviceName,
  };
}

const LOOPBACK = /^(localhost|127\.|\[::1\])/;

/** A second device by its camera: the code is drawn by the server, which knows its own address. @param {string} to path */
function offerOnPhone(to) {
  const details = $("#phone");
  show(details, true);
  $("#phone-hint").textContent = LOOPBACK.test(location.hostname)
    ? "This address is this machine’s own: start the server with --host and --public-host for a phone." : "Scan it with the phone’s camera.";
  details.addEventListener("toggle", () => $("#phone-qr").setAttribute("src", `/dev/qr.svg?${new URLSearchParams({ to })}`), { once: true });
}

/** @param {(who: Identity) => void} signIn called at once where the address says `auto=1` */
export function setUpSignIn(signIn) {
  const query = new URLSearchParams(location.search);
  const strip = $("#signin");
  const phone = matchMedia("(max-width: 720px)").matches;
  const name = h("input", { id: "signin-name", name: "name", required: true, maxlength: 64, value: query.get("name") ?? "Ana", autocomplete: "off" });
  const group = h("input", { id: "signin-group", name: "group", required: true, maxlength: 64, value: query.get("group") ?? "default", autocomplete: "off" });
  const kind = h("select", { id: "signin-device", name: "device" },
    ...["desktop", "phone"].map((value) => h("option", { value, text: value === "desktop" ? "Desktop" : "Phone", selected: (query.get("device") ?? (phone ? "phone" : "desktop")) === value })));
  const form = h("form", { class: "signin-form" },
    h("p", { class: "signin-title", text: "Development sign-in" }),
    h("label", {}, "Name", name), h("label", {}, "Device", kind), h("label", {}, "Group", group),
    h("button", { class: "button primary", type: "submit", id: "signin-go", text: "Sign in" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const next = new URLSearchParams(location.search);
    next.set("name", name.value);
    next.set("sub", query.get("sub") && name.value === query.get("name") ? query.get("sub") ?? "" : identifier(name.value.toLowerCase()));
    next.set("device", kind.value);
    next.set("group", group.value);
    next.set("auto", "1");
    history.replaceState(null, "", `?${next}`);
    start();
  });
  const start = () => {
    const who = identity(new URLSearchParams(location.search));
    show(strip, false);
    const other = who.kind === "phone" ? "desktop" : "phone";
    const link = new URLSearchParams({ sub: who.sub, name: who.name, group: who.group, device: other, auto: "1" });
    const anchor = /** @type {HTMLAnchorElement} */ ($("#other-device"));
    anchor.href = `?${link}`;
    anchor.textContent = `Open as ${other}`;
    if (other === "phone") offerOnPhone(`${location.pathname}?${link}`);
    signIn(who);
  };
  strip.append(form);
  if (query.get("auto") === "1") start();
  else show(strip, true);
}
