// The only script that travels with every message: it fetches the component's modules once and hands over to them.
let modules;

export default async function load(component) {
  modules ??= import(new URL("FRONTEND_FOLDER/plot.js", document.baseURI).href);
  try {
    const { render } = await modules;
    return render(component);
  } catch (error) {
    modules = undefined; // a later message tries again
    throw error;
  }
}
